"""Finished rows in other shards are the same rows, in the same splits."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from pipelines.command.run import RunOptions
from pipelines.errors import UserError
from pipelines.inspect import InspectConfig, inspect
from pipelines.mask.config import MaskStageConfig
from pipelines.mask.pipeline import mask
from pipelines.records.manifest import read_manifest, read_split
from pipelines.records.ragged import Ragged, row_count
from pipelines.tokenize.reshard import reshard_rows
from tests.command_process import run_command_process

_ONE = RunOptions(beam_args=("--direct_num_workers=1",))


def rows_of(folder: Path) -> dict[str, Counter[tuple]]:
    """Each row, all of its columns, in each split."""
    manifest = read_manifest(str(folder))
    found = {}
    for split in manifest.splits:
        rows: list[tuple] = []
        for table in read_split(str(folder), manifest, split):
            columns = [
                [part.tobytes() for part in np.split(column.values, column.offsets[1:-1])]
                if isinstance(column, Ragged)
                else column.tolist()
                for column in table.values()
            ]
            assert all(len(column) == row_count(table) for column in columns if row_count(table))
            rows += zip(*columns, strict=True) if row_count(table) else []
        found[split] = Counter(rows)
    return found


def contents(folder: Path) -> dict[str, bytes]:
    names = (path for path in folder.iterdir() if path.name not in ("run.json", ".lock"))
    return {path.name: path.read_bytes() for path in names}


@pytest.fixture(scope="module")
def five(tmp_path_factory, rows_dir) -> Path:
    output = tmp_path_factory.mktemp("reshard") / "five"
    reshard_rows(str(rows_dir), str(output), 5, None, _ONE)
    return output


def test_rows_are_equal_as_a_set(rows_dir, five, tmp_path):
    reshard_rows(str(five), str(tmp_path / "back"), 1, "tfrecord", _ONE)
    expected = rows_of(rows_dir)
    assert rows_of(five) == rows_of(tmp_path / "back") == expected
    old, new, back = (read_manifest(str(f)) for f in (rows_dir, five, tmp_path / "back"))
    assert [len(new.splits[split]) for split in ("train", "validation")] == [5, 1]
    assert [shard.name for shard in back.splits["train"]] == ["train-00000-of-00001.tfrecord"]
    assert new.counts == back.counts == old.counts
    assert new.schema == back.schema == old.schema
    assert new.facts == {**old.facts, "resharded": old.fingerprint}
    assert max(s.records for s in new.splits["train"]) < 2 * min(
        s.records for s in new.splits["train"]
    )


def test_the_bytes_depend_on_the_rows_alone(five, rows_dir, tmp_path, monkeypatch):
    monkeypatch.setattr("pipelines.tokenize.reshard._ROWS_AT_ONCE", 50)
    monkeypatch.setattr("pipelines.tokenize.reshard.runs_here", lambda _: False)
    options = RunOptions(beam_args=("--runner=BundleBasedDirectRunner",))
    reshard_rows(str(rows_dir), str(tmp_path / "rows"), 5, None, options)
    assert contents(tmp_path / "rows") == contents(five)


def test_later_stages_read_what_came_out(five, rows_dir, tmp_path, capsys):
    """Masks are keyed by rows: those of other shards are the same."""
    outputs = [tmp_path / name for name in ("before", "after")]
    for source, output in zip((rows_dir, five), outputs, strict=True):
        mask(MaskStageConfig(input=str(source), output=str(output)), _ONE)
    assert rows_of(outputs[0]) == rows_of(outputs[1])
    inspect(InspectConfig(data=str(five)), RunOptions())
    assert "all 6 shards are as" in capsys.readouterr().out


def test_what_cannot_be_done_is_said(five, rows_dir, vocab_dir, tmp_path, capsys):
    reshard_rows(str(rows_dir), str(five), 5, None, _ONE)
    assert "is finished already" in capsys.readouterr().err
    with pytest.raises(UserError, match="num_shards was 5, now 6"):
        reshard_rows(str(rows_dir), str(five), 6, None, _ONE)
    with pytest.raises(UserError, match="which --input reads"):
        reshard_rows(str(five), str(five), 6, None, RunOptions(overwrite=True))
    with pytest.raises(UserError, match="written by stage vocab, expected tokenize"):
        reshard_rows(str(vocab_dir), str(tmp_path / "rows"), 6, None, _ONE)
    damaged = Path(shutil.copytree(five, tmp_path / "damaged"))
    next(damaged.glob("train-00002-*")).unlink()
    with pytest.raises(UserError, match=r"train-00002-of-00005.array_record is missing"):
        reshard_rows(str(damaged), str(tmp_path / "rows"), 6, None, _ONE)
    with pytest.raises(UserError, match="was made with pipelines.reshard; make it again"):
        inspect(InspectConfig(data=str(damaged), repair=True), RunOptions())


def test_the_command_asks_for_a_change(five, tmp_path):
    paths = ("--input", str(five), "--output", str(tmp_path / "rows"))
    _, said = run_command_process("pipelines.reshard", *paths, status=2)
    assert "--num_shards: say how many shards there are to be, or another --format" in said
    flags = ("--format", "tfrecord", "--direct_num_workers", "1")
    run_command_process("pipelines.reshard", *paths, *flags)
    assert rows_of(tmp_path / "rows") == rows_of(five)
