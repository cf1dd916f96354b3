"""Shards are compared with their checksums beside the reading, and each only once."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from pipelines.errors import UserError
from trainer.data.dataset import TRAIN, open_dataset
from trainer.data.row_reader import RowReader
from trainer.data.shard_check import ShardCheck


def read(reader: RowReader, *rows: int) -> None:
    reader.read(np.array(rows), np.zeros(len(rows), np.int64))


def test_only_shards_that_were_opened_are_compared(make_rows, tmp_path):
    folder = Path(shutil.copytree(make_rows(format="tfrecord"), tmp_path / "rows"))
    shards = sorted(folder.glob("train-*"))
    data = bytearray(shards[2].read_bytes())
    data[-1] ^= 1
    check = ShardCheck()
    reader = RowReader(open_dataset(str(folder)), TRAIN, check=check)
    read(reader, 0, 20)
    shards[2].write_bytes(data)
    check.wait()
    read(reader, 0, 20)
    read(reader, 40)
    with pytest.raises(UserError, match=f"{shards[2].name} does not match the checksum"):
        check.wait()
    assert check.unfinished() == 0
    with pytest.raises(UserError, match=shards[2].name):
        read(reader, 0)


def test_rows_that_are_replaced_while_they_are_read(make_rows, tmp_path):
    """What ``pipelines.tokenize --overwrite`` does: other rows under the same names."""
    folder = Path(shutil.copytree(make_rows(format="tfrecord"), tmp_path / "rows"))
    others = make_rows(format="tfrecord", seed=1)
    check = ShardCheck()
    reader = RowReader(open_dataset(str(folder)), TRAIN, check=check)
    read(reader, 0)
    check.wait()
    for path in others.iterdir():
        shutil.copy(path, tmp_path / "new")
        os.replace(tmp_path / "new", folder / path.name)
    read(reader, 0)  # still the file that was opened
    with pytest.raises(UserError, match=r"train-\d+-of-00003\.tfrecord (has|does not match)"):
        for row in (20, 40):
            read(reader, row)
            check.wait()


def test_the_file_that_is_compared_is_the_one_that_is_read(make_rows, tmp_path):
    folder = Path(shutil.copytree(make_rows(), tmp_path / "rows"))
    shard = open_dataset(str(folder)).shards(TRAIN)[0]
    path = folder / shard.name
    wrong = os.stat(make_rows(seed=1) / shard.name)
    check = ShardCheck()
    check.begin(str(path), shard, wrong)
    with pytest.raises(UserError, match=f"{shard.name} was replaced while it was read"):
        check.wait()


def test_a_shard_that_goes_away_and_a_check_that_is_stopped(make_rows, tmp_path):
    dataset = open_dataset(str(make_rows()))
    check = ShardCheck()
    shard = dataset.shards(TRAIN)[0]
    check.begin(str(tmp_path / shard.name), shard, os.stat(tmp_path))
    with pytest.raises(UserError, match=f"{shard.name} is missing"):
        check.wait()
    stopped = ShardCheck()
    stopped.stop()
    stopped.begin(os.devnull, shard, os.stat(os.devnull))
    stopped.wait()
