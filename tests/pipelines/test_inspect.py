"""What ``pipelines.inspect`` says of outputs."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.command.run import RunOptions
from pipelines.errors import UserError
from pipelines.inspect import InspectConfig, describe_records, inspect
from pipelines.mask.config import MaskStageConfig
from pipelines.mask.pipeline import mask
from pipelines.records.checksums import names_below, write_checksums
from pipelines.records.manifest import Manifest, read_manifest
from pipelines.records.output_folder import finish_output
from pipelines.records.ragged import Ragged
from pipelines.records.shards import ShardReader
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
        "documents in",
        "630",
        "fill",
        "bytes a token",
        "seq length",
        "vocabulary size",
    ):
        assert expected in shown
    assert "row_id: uint64\nlength of token_ids: uint32" in shown
    assert "all 4 shards are as" in shown


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
