"""The tokenize stage on real runners: the same bytes however it is run, and nothing lost."""

from __future__ import annotations

import dataclasses
import json
import random
import re
import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pytest

from pipelines.command.run import RunOptions
from pipelines.documents.blocks import content_id
from pipelines.errors import UserError
from pipelines.records.manifest import read_manifest, read_split
from pipelines.records.ragged import Columns, Ragged, concatenate, offsets_of
from pipelines.text.vocabulary import Vocabulary
from pipelines.tokenize import transforms
from pipelines.tokenize.config import TokenizeConfig
from pipelines.tokenize.encode import Encoder
from pipelines.tokenize.pipeline import tokenize
from tests.engines import parts


def write_jsonl(path: Path, texts: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))


def make_config(corpus, vocab_dir, output, **fields) -> TokenizeConfig:
    defaults = {"seq_length": 64, "num_shards": 3, "validation_fraction": 0.1}
    return TokenizeConfig(
        input=(str(corpus),), vocab=str(vocab_dir), output=str(output), **{**defaults, **fields}
    )


def contents(output: Path) -> dict[str, bytes]:
    """All files but run.json, which tells of one run's times and places."""
    return {
        path.name: path.read_bytes()
        for path in output.iterdir()
        if path.name not in ("run.json", ".lock")
    }


def rows_by_split(folder: Path) -> dict[str, Columns]:
    """All rows of an output."""
    manifest = read_manifest(str(folder))
    return {
        split: concatenate(list(read_split(str(folder), manifest, split)))
        for split in manifest.splits
    }


def run(config: TokenizeConfig, *beam_args: str, overwrite: bool = False) -> dict[str, bytes]:
    """Runs the stage, on one thread if nothing else is asked: it starts soonest."""
    beam_args = beam_args or ("--direct_num_workers=1",)
    tokenize(config, RunOptions(beam_args=beam_args, overwrite=overwrite))
    return contents(Path(config.output))


def test_every_token_of_every_document_is_in_the_rows(rows_dir, vocab_dir, texts):
    manifest = read_manifest(str(rows_dir))
    vocabulary = Vocabulary.load(rows_dir / "vocab.txt")
    found: dict[int, list[int]] = {}
    for split, rows in rows_by_split(rows_dir).items():
        assert split in ("train", "validation")
        names = ("token_ids", "segment_lengths", "doc_ids")
        tokens, runs, owners = (rows[name] for name in names)
        assert tokens.lengths.max(initial=0) <= 64
        segments = Ragged(tokens.values, offsets_of(runs.values))
        for run, owner in enumerate(owners.values.tolist()):
            segment = segments.values[segments.offsets[run] : segments.offsets[run + 1]]
            assert segment[0] == vocabulary.cls_id
            assert segment[-1] == vocabulary.sep_id
            found.setdefault(owner, []).extend(segment[1:-1].tolist())
    encoder = Encoder(vocabulary, True, True)
    expected: dict[int, list[int]] = {}
    for text in texts:
        ids, _ = encoder.encode([text])
        expected.setdefault(content_id(text.encode()), []).extend(ids.tolist())
    # Segments of one document may stand in several rows, in any order.
    assert {doc: sorted(ids) for doc, ids in found.items()} == {
        doc: sorted(ids) for doc, ids in expected.items()
    }
    counts = manifest.counts
    assert counts["documents_in"] == counts["documents_out"] == len(texts)
    assert counts["tokens_in"] == counts["tokens_out"] == sum(map(len, expected.values()))


@pytest.mark.parametrize(
    "beam_args",
    [
        ("--direct_running_mode=in_memory", "--direct_num_workers=1"),
        ("--direct_running_mode=multi_threading", "--direct_num_workers=3"),
        ("--direct_running_mode=multi_processing", "--direct_num_workers=2"),
        ("--runner=BundleBasedDirectRunner",),
    ],
)
def test_same_bytes_on_every_runner(tmp_path, rows_dir, corpus, vocab_dir, beam_args):
    assert run(make_config(corpus, vocab_dir, tmp_path / "rows"), *beam_args) == contents(rows_dir)


def test_same_bytes_on_prism(tmp_path, rows_dir, corpus, vocab_dir):
    location = f"--prism_location={parts.prism(build=False)}"
    config = make_config(corpus, vocab_dir, tmp_path / "rows")
    # Beam would take the server of another test's runner, in whatever state it is.
    own = "--experiments=disable_prism_server_singleton"
    assert run(config, "--runner=PrismRunner", location, own) == contents(rows_dir)


def test_same_bytes_from_shuffled_renamed_and_resharded_input(tmp_path, rows_dir, texts, vocab_dir):
    shuffled = list(texts)
    random.Random(1).shuffle(shuffled)
    for part in range(5):
        write_jsonl(tmp_path / "parts" / f"{9 - part}.jsonl", shuffled[part::5])
    config = make_config(tmp_path / "parts" / "*.jsonl", vocab_dir, tmp_path / "rows")
    assert run(config) == contents(rows_dir)


def test_same_bytes_when_blocks_and_ranges_are_small(
    tmp_path, rows_dir, corpus, vocab_dir, monkeypatch
):
    monkeypatch.setattr("pipelines.documents.blocks.BLOCK_BYTES", 500)
    monkeypatch.setattr("pipelines.documents.blocks.RANGE_BYTES", 3000)
    assert run(make_config(corpus, vocab_dir, tmp_path / "rows")) == contents(rows_dir)


def test_a_bundle_that_fails_and_is_retried_changes_nothing(
    tmp_path, rows_dir, corpus, vocab_dir, monkeypatch
):
    """The runner retries a bundle whose first attempt dies after its shard was published."""
    attempts: list[str] = []
    real = transforms.write_shard

    def failing_once(folder, name, *rest):
        info = real(folder, name, *rest)
        attempts.append(name)
        if len(attempts) in (1, 3):
            raise OSError("the disk went away for a moment")
        return info

    monkeypatch.setattr(transforms, "write_shard", failing_once)
    config = make_config(corpus, vocab_dir, tmp_path / "rows")
    # BundleBasedDirectRunner retries a failed bundle up to four times.
    assert run(config, "--runner=BundleBasedDirectRunner") == contents(rows_dir)
    assert len(attempts) > len(set(attempts))


@pytest.mark.parametrize("failing", [1, 2, 5])
def test_a_bundle_that_fails_after_storing_a_part_is_retried_whole(
    tmp_path, rows_dir, corpus, vocab_dir, monkeypatch, failing
):
    """What the failed attempt left in files is never read, and what it read is counted once."""
    calls: list[str] = []
    real = transforms.BlockFile.append

    def failing_once(self, table):
        stored = real(self, table)
        calls.append(stored.index.path)
        if len(calls) == failing:
            raise OSError("the disk went away for a moment")
        return stored

    monkeypatch.setattr(transforms.BlockFile, "append", failing_once)
    monkeypatch.setattr(transforms, "tokens_to_cut", lambda shards: 5_000)
    monkeypatch.setattr("pipelines.documents.blocks.BLOCK_BYTES", 5_000)
    config = make_config(corpus, vocab_dir, tmp_path / "rows")
    assert run(config, "--runner=BundleBasedDirectRunner") == contents(rows_dir)
    assert len(calls) > failing


@pytest.mark.parametrize("beam_args", [(), ("--runner=BundleBasedDirectRunner",)])
def test_same_bytes_through_beams_own_shuffle(
    tmp_path, rows_dir, corpus, vocab_dir, monkeypatch, beam_args
):
    """As on runners whose workers share no disk."""
    monkeypatch.setattr("pipelines.tokenize.pipeline.runs_here", lambda _: False)
    monkeypatch.setattr(transforms, "tokens_to_cut", lambda shards: 5_000)
    monkeypatch.setattr("pipelines.documents.blocks.BLOCK_BYTES", 5_000)
    assert run(make_config(corpus, vocab_dir, tmp_path / "rows"), *beam_args) == contents(rows_dir)


def test_temporary_files_are_gone_when_a_run_fails(tmp_path, corpus, vocab_dir, monkeypatch):
    def always_failing(*_):
        raise OSError("no such disk")

    monkeypatch.setattr(transforms, "write_shard", always_failing)
    config = make_config(corpus, vocab_dir, tmp_path / "rows")
    with pytest.raises(Exception, match="no such disk"):
        run(config)
    left = {path.name for path in (tmp_path / "rows").iterdir()}
    assert left <= {".lock", "run.json", "vocab.txt"}


def test_a_full_disk_is_one_line(tmp_path, corpus, vocab_dir, monkeypatch):
    def failing(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(transforms.BlockFile, "append", failing)
    with pytest.raises(UserError, match="^the disk is full; free some space and run again$"):
        run(make_config(corpus, vocab_dir, tmp_path / "rows"))


def check_sizes(tmp_path, vocab_dir, sizes: list[int]) -> None:
    """Documents of these sizes in bytes, the largest in a file of its own, end up in the rows."""
    texts = ["lo mi ka re " * (size // 12) + "ka" * (size % 12 // 2) for size in sizes]
    write_jsonl(tmp_path / "in" / "a.jsonl", texts[:-1])
    (tmp_path / "in" / "b.txt").write_text(texts[-1])
    config = make_config(
        tmp_path / "in", vocab_dir, tmp_path / "rows", num_shards=2, validation_fraction=0.0
    )
    run(config)
    counts = read_manifest(config.output).counts
    empty = sum(not text.strip() for text in texts)
    assert counts["documents_in"] == len(sizes)
    assert counts["documents_out"] == len(sizes) - empty
    assert counts.get("documents_dropped_empty", 0) == empty
    assert counts["tokens_in"] == counts["tokens_out"] >= sum(sizes) / 6


def test_documents_of_any_size(tmp_path, vocab_dir):
    check_sizes(tmp_path, vocab_dir, [0, 2, 12, 100_000, 0, 2_000_000])


@pytest.mark.long
def test_documents_up_to_100_megabytes(tmp_path, vocab_dir):
    check_sizes(tmp_path, vocab_dir, [0, 12, 1_000_000, 100_000_000])


@pytest.mark.parametrize("packing", ["documents", "full", "pairs"])
@pytest.mark.parametrize("format", ["array_record", "tfrecord"])
def test_every_packing_in_every_format(tmp_path, corpus, vocab_dir, packing, format):
    config = make_config(
        corpus, vocab_dir, tmp_path / "rows", packing=packing, format=format, seq_length=32
    )
    run(config)
    manifest = read_manifest(config.output)
    assert manifest.counts["rows"] > 100
    for split, rows in rows_by_split(tmp_path / "rows").items():
        assert len(np.unique(rows["row_id"])) == manifest.rows(split)
        assert ("next_sentence_labels" in rows) == (packing == "pairs")


def test_unknown_words_are_counted_and_named(tmp_path, vocab_dir, capsys):
    path = tmp_path / "a.txt"
    path.write_text("kalo 한국 한국\n" * 2 + "kalo kalo\nmitu 말\n", "utf-8")
    output = str(tmp_path / "rows")
    tokenize(
        TokenizeConfig(input=(str(path),), vocab=str(vocab_dir), output=output, seq_length=64),
        RunOptions(),
    )
    counts = read_manifest(output).counts
    assert (counts["tokens_unknown"], counts["documents_with_unknown"]) == (5, 3)
    said = capsys.readouterr()
    rate = f"{5 / counts['tokens_in']:.2%}"
    assert re.search(rf"\[UNK\] of all tokens +{rate}", said.out)
    # As the vocabulary splits them, without accents.
    jamo = unicodedata.normalize("NFD", "한국 (4), 말 (1)")
    assert f"{rate} of the tokens are [UNK], most often {jamo} in a sample; " in said.err


def test_validation_split_goes_by_content(rows_dir):
    owners = {
        split: set(rows["doc_ids"].values.tolist())
        for split, rows in rows_by_split(rows_dir).items()
    }
    assert not owners["train"] & owners["validation"]
    share = len(owners["validation"]) / len(owners["train"] | owners["validation"])
    assert 0.05 < share < 0.15


def test_deduplicate_and_short_documents_are_counted(tmp_path, corpus, vocab_dir, texts):
    config = make_config(corpus, vocab_dir, tmp_path / "rows", deduplicate=True, min_tokens=10)
    run(config)
    counts = read_manifest(config.output).counts
    assert counts["documents_dropped_duplicate"] >= 20
    assert counts["documents_dropped_short"] > 0
    assert counts["documents_in"] == len(texts)
    assert "documents_repeated" not in counts


def test_repeats_that_stay_are_counted(rows_dir, texts):
    counts = read_manifest(str(rows_dir)).counts
    assert counts["documents_repeated"] == len(texts) - len(set(texts)) >= 20


def test_repeats_that_make_no_row_are_not_counted(tmp_path, vocab_dir):
    whole = "The first sentence says something. The second one says something else. And a third."
    texts = ["deleted"] * 30 + [f"{whole} Number {i}." for i in range(8)] + [f"{whole} Number 1."]
    (tmp_path / "texts.txt").write_text("\n".join(texts))
    config = make_config(tmp_path / "texts.txt", vocab_dir, tmp_path / "rows", packing="pairs")
    run(config)
    counts = read_manifest(config.output).counts
    assert counts["documents_dropped_too_short_for_a_pair"] == 30
    assert (counts["documents_out"], counts["documents_repeated"]) == (9, 1)


def test_the_users_filter_is_counted_by_reason(tmp_path, corpus, vocab_dir, texts, monkeypatch):
    (tmp_path / "short_enough.py").write_text(
        "def judge(text):\n    return len(text) < 300 or 'too long'\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    config = make_config(corpus, vocab_dir, tmp_path / "rows", filter="short_enough:judge")
    run(config)
    counts = read_manifest(config.output).counts
    refused = sum(len(text) >= 300 for text in texts)
    assert counts["documents_dropped_filter_too_long"] == refused > 0
    assert counts["documents_out"] == len(texts) - refused
    with pytest.raises(UserError, match="--filter nowhere:judge: cannot import nowhere"):
        run(dataclasses.replace(config, filter="nowhere:judge", output=str(tmp_path / "other")))


def test_rerun_recognises_what_is_done(tmp_path, corpus, vocab_dir, capsys):
    config = make_config(corpus, vocab_dir, tmp_path / "rows")
    run(config)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "rows").iterdir()}
    run(config)
    assert "finished already" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "rows").iterdir()} == before
    other = dataclasses.replace(config, seq_length=32)
    with pytest.raises(UserError, match="seq_length was 64, now 32.*--overwrite"):
        run(other)
    run(other, overwrite=True)
    assert read_manifest(config.output).facts["seq_length"] == 32


def test_an_interrupted_run_is_not_accepted_and_restarts(tmp_path, rows_dir, corpus, vocab_dir):
    output = tmp_path / "rows"
    shutil.copytree(rows_dir, output)
    (output / "manifest.json").unlink()
    (output / ".incomplete-abc-train-00000-of-00003.array_record").write_bytes(b"half")
    (output / ".incomplete-def").mkdir()
    (output / ".incomplete-def" / "0.blocks").write_bytes(b"tokens on their way to a shard")
    (output / "train-00000-of-00099.array_record").write_bytes(b"of an earlier attempt")
    with pytest.raises(UserError, match="not finished: it has no manifest"):
        read_manifest(str(output))
    assert run(make_config(corpus, vocab_dir, output)) == contents(rows_dir)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"text": "a"', r"corpus\.jsonl:3: not valid JSON"),
        (b'{"body": "a"}', r"corpus\.jsonl:3: no field 'text'"),
        (b'{"text": "caf\xe9"}', r"corpus\.jsonl:3: not valid UTF-8"),
    ],
)
def test_bad_input_is_one_line_and_leaves_no_manifest(tmp_path, vocab_dir, line, message):
    path = tmp_path / "corpus.jsonl"
    path.write_bytes(b'{"text": "one"}\n{"text": "two"}\n' + line + b"\n")
    config = make_config(path, vocab_dir, tmp_path / "rows")
    with pytest.raises(UserError, match=message) as caught:
        run(config)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "rows" / "manifest.json").exists()


def test_an_empty_corpus_is_an_error(tmp_path, vocab_dir):
    path = tmp_path / "corpus.jsonl"
    path.write_text('{"text": "  "}\n')
    with pytest.raises(UserError, match="no documents to tokenize: read 1, dropped empty 1"):
        run(make_config(path, vocab_dir, tmp_path / "rows"))
    assert not (tmp_path / "rows" / "manifest.json").exists()


@pytest.mark.parametrize("overwrite", [False, True])
def test_nothing_of_somebody_is_overwritten(tmp_path, corpus, vocab_dir, overwrite):
    output = tmp_path / "rows"
    output.mkdir()
    (output / "vocab.txt").write_text("mine")
    (output / "train-00000-of-00099.array_record").write_text("mine")
    with pytest.raises(UserError, match="--output: .*rows holds train-00000-of-00099"):
        run(make_config(corpus, vocab_dir, output), overwrite=overwrite)
    assert {path.name for path in output.iterdir()} == {
        "vocab.txt",
        "train-00000-of-00099.array_record",
    }


def test_its_vocabulary_is_not_overwritten(tmp_path, corpus, rows_dir):
    output = tmp_path / "rows"
    shutil.copytree(rows_dir, output)
    (tmp_path / "link").symlink_to(output)
    for vocab in (output, output / ".", output / "vocab.txt", tmp_path / "link"):
        with pytest.raises(UserError, match="--output: .*rows is or holds .*, which --vocab reads"):
            run(make_config(corpus, vocab, output, seq_length=32), overwrite=True)
    assert contents(output) == contents(rows_dir)


def test_vocabularies_that_cannot_work(tmp_path, corpus, vocab_dir):
    bad = tmp_path / "vocab.txt"
    bad.write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\na\n")
    with pytest.raises(UserError, match=r"\[MASK\]"):
        run(make_config(corpus, bad, tmp_path / "rows"))
    with pytest.raises(UserError, match="learned with lowercase true"):
        run(make_config(corpus, vocab_dir, tmp_path / "rows", lowercase=False))
