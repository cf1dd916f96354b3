"""The mask stage on real runners: every example restores its row, the same bytes everywhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipelines.command.run import RunOptions
from pipelines.errors import UserError
from pipelines.mask.config import MaskStageConfig
from pipelines.mask.pipeline import mask
from pipelines.records.manifest import read_manifest
from pipelines.records.ragged import Ragged
from pipelines.records.shards import ShardReader
from pipelines.text.vocabulary import Vocabulary


def run(config: MaskStageConfig, *beam_args: str) -> dict[str, bytes]:
    mask(config, RunOptions(beam_args=beam_args))
    return {
        path.name: path.read_bytes()
        for path in Path(config.output).iterdir()
        if path.name not in ("run.json", ".lock")
    }


def read_all(folder: str, split: str):
    manifest = read_manifest(folder)
    for info in manifest.splits[split]:
        path = str(Path(folder) / info.name)
        reader = ShardReader(path, info, manifest.schema, manifest.facts["format"])
        yield reader.read(np.arange(len(reader)))


def ragged(column) -> Ragged:
    assert isinstance(column, Ragged)
    return column


@pytest.mark.parametrize("strategy", ["token", "whole_word", "span"])
@pytest.mark.parametrize("format", ["array_record", "tfrecord"])
def test_examples_restore_their_rows(tmp_path, rows_dir, strategy, format):
    config = MaskStageConfig(
        input=str(rows_dir),
        output=str(tmp_path / "examples"),
        copies=2,
        strategy=strategy,
        format=format,
        mask_selection_rate=0.25,
    )
    run(config)
    rows = list(read_all(config.input, "train"))
    examples = list(read_all(config.output, "train"))
    vocabulary = Vocabulary.load(rows_dir / "vocab.txt")
    assert len(examples) == 2 * len(rows)
    copies = []
    for number, shard in enumerate(examples):
        row = rows[number % len(rows)]
        np.testing.assert_array_equal(shard["row_id"], row["row_id"])
        assert set(shard["copy"].tolist()) == {number // len(rows)}
        masked, original = ragged(shard["token_ids"]), ragged(row["token_ids"])
        positions, ids = ragged(shard["mask_positions"]), ragged(shard["mask_ids"])
        places = positions.values + np.repeat(masked.offsets[:-1], positions.lengths)
        assert len(places) > 100
        assert (masked.values == vocabulary.mask_id).mean() > 0.1
        restored = masked.values.copy()
        restored[places] = ids.values
        np.testing.assert_array_equal(restored, original.values)
        copies.append(masked.values)
    assert not np.array_equal(copies[0], copies[len(rows)])
    assert [s["copy"].max() for s in read_all(config.output, "validation")] == [0]


def test_same_bytes_on_every_runner(tmp_path, rows_dir):
    outputs = []
    for number, beam_args in enumerate(
        [
            ("--direct_running_mode=in_memory", "--direct_num_workers=1"),
            ("--direct_running_mode=multi_threading", "--direct_num_workers=4"),
            ("--runner=BundleBasedDirectRunner",),
        ]
    ):
        config = MaskStageConfig(input=str(rows_dir), output=str(tmp_path / str(number)), copies=2)
        outputs.append(run(config, *beam_args))
    assert outputs[0] == outputs[1] == outputs[2]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"mask_selection_rate": 1.5}, "between 0 and 1"),
        ({"mask_token_rate": 0.8, "random_token_rate": 0.3}, "at most 1"),
        ({"mask_selection_length": 65}, "a row has only 64 tokens"),
        ({"copies": 0}, "--copies 0"),
    ],
)
def test_impossible_options(tmp_path, rows_dir, fields, message):
    config = MaskStageConfig(input=str(rows_dir), output=str(tmp_path / "out"), **fields)
    with pytest.raises(UserError, match=message):
        run(config)
    assert not (tmp_path / "out").exists()


def copy_rows(rows_dir: Path, target: Path) -> Path:
    target.mkdir()
    for path in rows_dir.iterdir():
        if path.is_file():
            (target / path.name).write_bytes(path.read_bytes())
    return target


def test_a_damaged_shard_is_named(tmp_path, rows_dir):
    rows = copy_rows(rows_dir, tmp_path / "rows")
    shard = sorted(rows.glob("train-*"))[1]
    data = bytearray(shard.read_bytes())
    data[len(data) // 3] ^= 1
    shard.write_bytes(data)
    with pytest.raises(UserError, match=f"{shard.name}.*checksum"):
        run(MaskStageConfig(input=str(rows), output=str(tmp_path / "out")))
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_rows_of_another_vocabulary_are_refused(tmp_path, rows_dir):
    rows = copy_rows(rows_dir, tmp_path / "rows")
    tokens = (rows / "vocab.txt").read_text().split("\n")
    tokens[10], tokens[11] = tokens[11], tokens[10]
    (rows / "vocab.txt").write_text("\n".join(tokens))
    with pytest.raises(UserError, match="not the vocabulary that manifest"):
        run(MaskStageConfig(input=str(rows), output=str(tmp_path / "out")))


def test_what_is_not_rows_is_refused(tmp_path, vocab_dir):
    with pytest.raises(UserError, match="written by stage vocab, expected tokenize"):
        run(MaskStageConfig(input=str(vocab_dir), output=str(tmp_path / "out")))


@pytest.mark.parametrize("overwrite", [False, True])
def test_the_rows_are_not_overwritten(tmp_path, rows_dir, overwrite):
    rows = copy_rows(rows_dir, tmp_path / "rows")
    (tmp_path / "link").symlink_to(rows)
    before = {path.name: path.read_bytes() for path in rows.iterdir()}
    for output in ("rows", "rows/.", "link"):
        config = MaskStageConfig(input=str(rows), output=str(tmp_path / output))
        with pytest.raises(UserError, match="is or holds .*, which --input reads"):
            mask(config, RunOptions(overwrite=overwrite))
    assert {path.name: path.read_bytes() for path in rows.iterdir()} == before


def test_a_split_that_is_a_path_is_refused(tmp_path, rows_dir):
    rows = copy_rows(rows_dir, tmp_path / "rows")
    manifest = (rows / "manifest.json").read_text()
    for name in ("../x", str(tmp_path / "x")):
        (rows / "manifest.json").write_text(manifest.replace('"validation":', f'"{name}":'))
        with pytest.raises(UserError, match="is not a valid name of a split"):
            run(MaskStageConfig(input=str(rows), output=str(tmp_path / "out")))
    assert [path.name for path in tmp_path.iterdir()] == ["rows"]
