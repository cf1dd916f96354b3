"""What ``pipelines.inspect`` says of outputs."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.command.run import RunOptions
from pipelines.errors import UserError
from pipelines.inspect import InspectConfig, describe_records, inspect
from pipelines.inspection.peer_tokenizers import Peer, ask_peers
from pipelines.inspection.show_rows import describe_rows
from pipelines.inspection.show_tokenizer import describe_texts
from pipelines.mask.config import MaskStageConfig
from pipelines.mask.pipeline import mask
from pipelines.records.checksums import names_below, write_checksums
from pipelines.records.manifest import Manifest, read_manifest, read_split
from pipelines.records.output_folder import finish_output
from pipelines.records.ragged import Ragged
from pipelines.records.shards import ShardReader
from pipelines.text.vocabulary import SPECIAL_TOKENS, Vocabulary
from pipelines.text.vocabulary_source import load_vocabulary
from pipelines.tokenize.config import TokenizeConfig
from pipelines.tokenize.pipeline import tokenize


@pytest.fixture
def damaged_dir(tmp_path, rows_dir) -> Path:
    shutil.copytree(rows_dir, tmp_path / "rows")
    return tmp_path / "rows"


def test_summary_layout_and_verification(rows_dir, capsys):
    inspect(InspectConfig(data=str(rows_dir)), RunOptions())
    shown = capsys.readouterr().out
    for expected in (
        "documents read",
        "630",
        "rows filled to",
        "bytes of a token on disk",
        "positions of a row",
        "vocabulary size",
    ):
        assert expected in shown
    assert "row_id: uint64\nlength of token_ids: uint32" in shown
    assert "all 4 shards are as" in shown


def test_rows_are_shown_with_their_documents(rows_dir, texts, capsys):
    vocabulary = load_vocabulary(str(rows_dir)).vocabulary
    inspect(InspectConfig(data=str(rows_dir), rows=3), RunOptions())
    shown = capsys.readouterr().out
    rows = re.findall(r"^row ([0-9a-f]{16})\n((?:  \d+: .*\n)+)", shown, re.MULTILINE)
    assert len(rows) == 3
    columns = next(read_split(str(rows_dir), read_manifest(str(rows_dir)), "train"))
    for number, (row_id, lines) in enumerate(rows):
        assert int(row_id, 16) == columns["row_id"][number]
        documents = [line.split(": ", 1)[1] for line in lines.splitlines()]
        ids = [vocabulary.index[piece] for piece in " ".join(documents).split()]
        assert ids == columns["token_ids"].take(np.array([number])).values.tolist()
        lengths = columns["segment_lengths"].take(np.array([number])).values.tolist()
        assert [len(document.split()) for document in documents] == lengths
    inspect(InspectConfig(data=str(rows_dir), rows=0), RunOptions())
    assert "\n  1: " not in capsys.readouterr().out


def test_masks_are_shown_with_what_was_there(rows_dir, tmp_path, capsys):
    masked = str(tmp_path / "masked")
    mask(MaskStageConfig(input=str(rows_dir), output=masked), RunOptions())
    capsys.readouterr()
    shown = []
    for folder in (str(rows_dir), masked):
        inspect(InspectConfig(data=folder, rows=1), RunOptions())
        lines = capsys.readouterr().out.splitlines()
        shown.append(" ".join(line for line in lines if re.match(r"  \d+: ", line)))
    rows, examples = shown
    assert "[MASK][" in examples
    # What is in brackets behind a piece was there.
    assert re.sub(r"(?<= )\S+?\[([^][ ]+|\[\w+\])\](?= |$)", r"\1", examples) == rows


def test_records_of_another_kind_are_not_shown():
    vocabulary = Vocabulary((*SPECIAL_TOKENS, "a"))
    ids = Ragged(np.array([5, 9, 1]), np.array([0, 3]))
    for columns in ({}, {"token_ids": ids}, {"token_ids": np.arange(3), "segment_lengths": ids}):
        assert list(describe_rows(columns, vocabulary, 5)) == []
    runs = Ragged(np.array([2, 1]), np.array([0, 2]))
    whole = {"row_id": np.array([10], np.uint64), "token_ids": ids, "segment_lengths": runs}
    lines = ["row 000000000000000a", "  1: a <9>", "  2: [UNK]"]
    assert list(describe_rows(whole, vocabulary, 5)) == lines


def test_other_tokenizers_are_shown_where_they_differ(vocab_dir):
    source = load_vocabulary(str(vocab_dir))
    (ours,) = describe_texts(["Kalo x"], source)
    ids = [int(i) for i in ours[2].split()[1:]]
    peers = [
        Peer("Same 1.0", [ids]),
        Peer("Other 2.0", [[*ids[:-1], 1]]),
        Peer("Shorter 3.0", [ids[:-1]]),
        Peer("Absent", None, "is not installed"),
    ]
    (lines,) = describe_texts(["Kalo x"], source, peers)
    assert lines[: len(ours)] == ours
    pieces, last = ours[1].removeprefix("  pieces: ").split(), len(ids)
    assert lines[len(ours) :] == [
        "  Same 1.0: the same",
        f"  Other 2.0 differs from piece {last} on:",
        f"    pieces: {' '.join([*pieces[:-1], '[UNK]'])}",
        f"    ids:    {' '.join(map(str, [*ids[:-1], 1]))}",
        f"  Shorter 3.0 differs from piece {last} on:",
        f"    pieces: {' '.join(pieces[:-1])}",
        f"    ids:    {' '.join(map(str, ids[:-1]))}",
        "  Absent: is not installed",
    ]


def test_other_tokenizers_need_not_be_installed(vocab_dir, tmp_path, monkeypatch, capfd):
    for package in ("keras_hub", "transformers"):
        (tmp_path / f"{package}.py").write_text("print('hello')\nimport not_there\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    config = InspectConfig(tokenizer=str(vocab_dir), texts=("Kalo",), compare=True)
    inspect(config, RunOptions())
    shown = capfd.readouterr().out
    assert len(re.findall(r"^  (?:KerasHub|Transformers).*: is not installed \(", shown, re.M)) == 2
    assert "hello" not in shown


@pytest.mark.long
def test_other_tokenizers_as_they_are(vocab_dir):
    pytest.importorskip("keras_hub")
    pytest.importorskip("transformers")
    source = load_vocabulary(str(vocab_dir))
    text = "Kalo mitu kalo"
    (ours,) = describe_texts([text], source)
    for peer in ask_peers([text], source):
        assert peer.ids == [[int(i) for i in ours[2].split()[1:]]], peer


@pytest.mark.parametrize("bare", [True, False])
def test_a_tokenizer_is_shown_at_work(vocab_dir, corpus, capsys, bare):
    source = load_vocabulary(str(vocab_dir))
    inspect(
        InspectConfig(
            tokenizer=str(vocab_dir / "vocab.txt" if bare else vocab_dir),
            texts=("Kalo mitu 漢字!", "x"),
            input=(str(corpus),),
        ),
        RunOptions(),
    )
    shown = capsys.readouterr().out
    assert "300 pieces, lowercase True, strip_accents True" in shown
    pieces = re.search(r"^Kalo mitu 漢字!\n  pieces: (.*)\n  ids:    (.*)\n  (.*)$", shown, re.M)
    assert pieces is not None
    decoded = source.vocabulary.decode([int(i) for i in pieces[2].split()])
    assert re.sub(r"\(.\)", "", pieces[1]).split() == decoded
    assert "[UNK](漢) [UNK](字) [UNK](!)" in pieces[1] or "!" in source.vocabulary.index
    assert pieces[3].startswith("5 words, ")
    facts = read_manifest(str(vocab_dir))
    total = f"{facts.counts['words_in']:,}"
    assert re.search(rf"words in the sample +{total}\n", shown)
    assert "word that takes most pieces more" in shown


def test_the_worst_words_come_first(tmp_path, capsys):
    (tmp_path / "v.txt").write_text("\n".join([*SPECIAL_TOKENS, "a", "##a", "ab"]))
    lines = [{"body": "aaa ab zz aa"}, {"body": "yy zz aaa aaaaaa a"}]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    config = InspectConfig(
        tokenizer=str(tmp_path / "v.txt"), input=(str(tmp_path / "a.jsonl"),), text_field="body"
    )
    inspect(config, RunOptions())
    shown = [re.split("  +", line) for line in capsys.readouterr().out.splitlines()]
    words = [cells[0] for cells in shown if len(cells) == 3 and "---" not in cells[0]]
    assert words == [
        *("word that is [UNK]", "zz", "yy"),
        # Twice two pieces more than one, five more, one more.
        *("word that takes most pieces more", "aaaaaa", "aaa", "aa"),
    ]
    assert ["pieces per word", "2.11"] in shown
    assert ["[UNK] of all words", "33.33%"] in shown


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "--data: name an output"),
        ({"data": "a", "tokenizer": "b", "texts": ("c",)}, "--data: name an output"),
        ({"tokenizer": "b"}, "--tokenizer b: give --texts"),
        ({"data": "a", "texts": ("c",)}, "--texts: name the vocabulary"),
        ({"tokenizer": "a", "input": ("c",), "compare": True}, "--compare: compares"),
        ({"data": "a", "rows": -1}, "--rows -1"),
    ],
)
def test_options_that_do_not_go_together(fields, message):
    with pytest.raises(UserError, match=message):
        inspect(InspectConfig(**fields), RunOptions())


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def _flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 1
    path.write_bytes(bytes(data))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_truncate, "00001-of-00003.array_record .*(checksum|bytes)"),
        (_flip_a_bit, "00001-of-00003.array_record does not match the checksum"),
        (Path.unlink, "00001-of-00003.array_record is missing"),
    ],
)
def test_names_the_shard_that_is_not_as_the_manifest_says(damaged_dir, damage, message):
    damage(damaged_dir / "train-00001-of-00003.array_record")
    with pytest.raises(UserError, match=message):
        inspect(InspectConfig(data=str(damaged_dir)), RunOptions())


def test_names_every_damaged_shard(damaged_dir, capsys):
    for number in (0, 2):
        _flip_a_bit(damaged_dir / f"train-{number:05d}-of-00003.array_record")
    with pytest.raises(UserError, match="train-00000.*and 1 more"):
        inspect(InspectConfig(data=str(damaged_dir)), RunOptions())
    assert "BAD  train-00002-of-00003.array_record" in capsys.readouterr().err


def test_the_vocabulary_is_verified_too(damaged_dir, vocab_dir, tmp_path):
    shutil.copytree(vocab_dir, tmp_path / "vocab")
    inspect(InspectConfig(data=str(vocab_dir)), RunOptions())
    for file in (damaged_dir / "vocab.txt", tmp_path / "vocab" / "vocab.txt"):
        file.write_bytes(file.read_bytes().replace(b"##k", b"##K", 1))
        with pytest.raises(UserError, match=r"vocab\.txt is not the vocabulary that its manifest"):
            inspect(InspectConfig(data=str(file.parent)), RunOptions())
        with pytest.raises(UserError, match=r"vocab\.txt: not the vocabulary that manifest\.json"):
            load_vocabulary(str(file.parent))
        file.unlink()
        with pytest.raises(UserError, match=r"vocab\.txt is missing; put it back"):
            inspect(InspectConfig(data=str(file.parent)), RunOptions())


def test_a_vocabulary_without_a_checksum_is_said(vocab_dir, tmp_path, capsys):
    """As earlier versions wrote its manifest."""
    folder = Path(shutil.copytree(vocab_dir, tmp_path / "vocab"))
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["facts"]["vocabulary"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / "run.json").unlink()
    inspect(InspectConfig(data=str(folder)), RunOptions())
    assert "vocab.txt: manifest.json has no checksum of it" in capsys.readouterr().out
    inspect(InspectConfig(data=str(vocab_dir)), RunOptions())
    assert "no checksum" not in capsys.readouterr().out


def test_a_manifest_that_its_run_did_not_write_is_named(damaged_dir):
    path = damaged_dir / "manifest.json"
    path.write_bytes(path.read_bytes().replace(b'"lowercase": true', b'"lowercase": false'))
    with pytest.raises(UserError, match=r"manifest\.json is not the manifest that run\.json names"):
        inspect(InspectConfig(data=str(damaged_dir)), RunOptions())


def test_files_with_checksums_are_verified(tmp_path, capsys):
    """A preset, which has a manifest where it was exported, and none as a part of another output."""
    (tmp_path / "assets").mkdir()
    for name in ("config.json", "assets/vocabulary.txt"):
        (tmp_path / name).write_text("x" * 100)
    names = names_below(str(tmp_path))
    write_checksums(str(tmp_path), names)
    for _ in range(2):
        inspect(InspectConfig(data=str(tmp_path)), RunOptions())
        assert "all files are as they were written" in capsys.readouterr().out
        for name in names:
            _flip_a_bit(tmp_path / name)
            with pytest.raises(UserError, match=f"{name} is not the file of SHA256SUMS"):
                inspect(InspectConfig(data=str(tmp_path)), RunOptions())
            _flip_a_bit(tmp_path / name)
        (tmp_path / "new.json").write_text("{}")
        with pytest.raises(UserError, match=r"new\.json is not listed"):
            inspect(InspectConfig(data=str(tmp_path)), RunOptions())
        (tmp_path / "new.json").unlink()
        finish_output(str(tmp_path), Manifest("export", {}, {}), {}, {}, listed=names)


@pytest.mark.parametrize("stage", ["documents", "pairs", "masked"])
def test_stock_tensorflow_parses_tfrecords_with_the_schema_as_printed(
    tmp_path, corpus, vocab_dir, rows_dir, stage, capsys
):
    tf = pytest.importorskip("tensorflow")
    folder = tmp_path / "data"
    if stage == "masked":
        mask(
            MaskStageConfig(input=str(rows_dir), output=str(folder), format="tfrecord"),
            RunOptions(),
        )
    else:
        tokenize(
            TokenizeConfig(
                input=(str(corpus),),
                vocab=str(vocab_dir),
                output=str(folder),
                seq_length=64,
                num_shards=1,
                format="tfrecord",
                packing=stage,
            ),
            RunOptions(),
        )
    inspect(InspectConfig(data=str(folder)), RunOptions())
    manifest = read_manifest(str(folder))
    printed = describe_records(manifest)
    assert printed in capsys.readouterr().out
    names: dict[str, Any] = {"tf": tf}
    exec(printed, names)
    for info in manifest.splits["train"]:
        reader = ShardReader(str(folder / info.name), info, manifest.schema, "tfrecord")
        rows = reader.read(np.arange(len(reader)))
        records = list(tf.data.TFRecordDataset(str(folder / info.name)).as_numpy_iterator())
        parsed = tf.io.parse_example(records, names["features"])
        assert set(parsed) == set(rows)
        for name, column in rows.items():
            if isinstance(column, Ragged):
                assert np.array_equal(parsed[name].row_lengths(), column.lengths)
                values, expected = parsed[name].flat_values.numpy(), column.values
            else:
                values, expected = parsed[name].numpy(), column
            assert np.array_equal(values.astype(expected.dtype), expected)


def test_a_folder_that_is_no_output_is_named():
    with pytest.raises(UserError, match="--data: /nowhere does not exist"):
        inspect(InspectConfig(data="/nowhere"), RunOptions())
