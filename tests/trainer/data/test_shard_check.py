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


def test_a_shard_that_goes_away_and_a_check_that_is_stopped(make_rows, tmp_path):
    dataset = open_dataset(str(make_rows()))
    check = ShardCheck()
    shard = dataset.shards(TRAIN)[0]
    check.begin(str(tmp_path / shard.name), shard)
    with pytest.raises(UserError, match=f"{shard.name} is missing"):
        check.wait()
    stopped = ShardCheck()
    stopped.stop()
    stopped.begin(os.devnull, shard)
    stopped.wait()
