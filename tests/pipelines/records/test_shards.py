"""Record files: same rows, same bytes; damage is found and the shard named."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest

from pipelines.errors import UserError
from pipelines.records.codec import schema_of
from pipelines.records.ragged import Columns, Ragged, offsets_of
from pipelines.records.shards import ShardReader, local_copy, shard_name, write_shard


def make_columns(count: int) -> Columns:
    random = np.random.default_rng(count)
    lengths = random.integers(0, 50, count)
    values = random.integers(0, 30_000, lengths.sum()).astype(np.uint16)
    return {
        "row_id": random.integers(0, 2**64, count, dtype=np.uint64),
        "token_ids": Ragged(values, offsets_of(lengths)),
    }


@pytest.fixture(params=["array_record", "tfrecord"])
def format(request) -> str:
    return request.param


@pytest.mark.parametrize("count", [0, 1, 300])
def test_rows_come_back_in_any_order(tmp_path, format, count):
    columns = make_columns(count)
    name = shard_name("train", 3, 8, format)
    info, schema = write_shard(str(tmp_path), name, [columns], format)
    assert schema == schema_of(columns)
    assert info.name == f"train-00003-of-00008.{format}"
    assert info.records == count
    reader = ShardReader(str(tmp_path / info.name), info, schema, format)
    order = np.random.default_rng(0).permutation(count)
    rows = reader.read(order)
    np.testing.assert_array_equal(rows["row_id"], columns["row_id"][order])
    assert len(rows["token_ids"]) == count


def test_what_takes_the_place_of_a_checked_shard_is_not_read(tmp_path, format):
    columns = make_columns(50)
    name = shard_name("train", 0, 1, format)
    info, schema = write_shard(str(tmp_path), name, [columns], format)
    with local_copy(str(tmp_path), info) as path:
        (tmp_path / name).unlink()
        os.mkfifo(tmp_path / name)
        rows = ShardReader(path, info, schema, format).read(np.arange(50))
    np.testing.assert_array_equal(rows["row_id"], columns["row_id"])
    with pytest.raises(UserError, match="is a pipe or a device"), local_copy(str(tmp_path), info):
        pass


def test_equal_rows_are_equal_bytes(tmp_path, format):
    columns = make_columns(100)
    first, second = (
        write_shard(str(tmp_path), f"{name}.x", [columns], format)[0] for name in ("a", "b")
    )
    assert first.sha256 == second.sha256
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.x", "b.x"]


def test_a_writer_that_fails_leaves_nothing(tmp_path, format):
    columns = make_columns(3)
    parts = [{**columns, "label": np.zeros(3, np.int64)}, columns]
    with pytest.raises(KeyError):
        write_shard(str(tmp_path), "shard", parts, format)
    assert list(tmp_path.iterdir()) == []


def damage_truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def damage_missing(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("damage", [damage_truncated, damage_missing])
def test_damage_is_found_on_opening_and_named(tmp_path, format, damage):
    columns = make_columns(50)
    info, schema = write_shard(str(tmp_path), "shard", [columns], format)
    damage(tmp_path / "shard")
    with pytest.raises(UserError, match="shard .*make it again"):
        ShardReader(str(tmp_path / "shard"), info, schema, format)


def test_a_changed_byte_is_found(tmp_path, format):
    columns = make_columns(50)
    info, schema = write_shard(str(tmp_path), "shard", [columns], format)
    data = bytearray((tmp_path / "shard").read_bytes())
    data[len(data) // 2] ^= 0x10
    (tmp_path / "shard").write_bytes(data)
    with pytest.raises(UserError, match="checksum"), local_copy(str(tmp_path), info):
        pass
    with pytest.raises(UserError, match="shard"):
        reader = ShardReader(str(tmp_path / "shard"), info, schema, format)
        reader.read(np.arange(50))


def test_a_record_count_that_differs_is_found(tmp_path, format):
    columns = make_columns(50)
    info, schema = write_shard(str(tmp_path), "shard", [columns], format)
    wrong = dataclasses.replace(info, records=51)
    with pytest.raises(UserError, match="50 records, its manifest says 51"):
        ShardReader(str(tmp_path / "shard"), wrong, schema, format)


def test_stock_tensorflow_reads_the_tfrecords(tmp_path):
    tf = pytest.importorskip("tensorflow")
    columns = make_columns(20)
    write_shard(str(tmp_path), "shard", [columns], "tfrecord")
    records = list(tf.data.TFRecordDataset(str(tmp_path / "shard")).as_numpy_iterator())
    parsed = tf.io.parse_example(records, {"row_id": tf.io.FixedLenFeature([], tf.int64)})
    np.testing.assert_array_equal(parsed["row_id"].numpy().astype(np.uint64), columns["row_id"])
