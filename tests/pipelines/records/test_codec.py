"""Codecs: rows to bytes and back, with and without TensorFlow's eyes on them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.records.codec import (
    DamagedRecordError,
    Field,
    decode_records,
    encode_records,
    schema_of,
)
from pipelines.records.ragged import Columns, Ragged, concatenate, offsets_of, take
from pipelines.records.tf_example import decode_examples, encode_examples

_SCALARS = ("uint8", "uint16", "uint32", "uint64", "int64")


@st.composite
def tables(draw) -> Columns:
    count = draw(st.integers(0, 6))
    columns: Columns = {}
    for number in range(draw(st.integers(1, 4))):
        dtype = np.dtype(draw(st.sampled_from(_SCALARS)))
        limits = np.iinfo(dtype)
        values = st.integers(int(limits.min), int(limits.max))
        if draw(st.booleans()):
            lists = draw(st.lists(st.lists(values, max_size=5), min_size=count, max_size=count))
            flat = np.array([value for part in lists for value in part], dtype)
            columns[f"ragged_{number}"] = Ragged(flat, offsets_of(np.array([*map(len, lists)])))
        else:
            column = draw(st.lists(values, min_size=count, max_size=count))
            columns[f"scalar_{number}"] = np.array(column, dtype)
    return columns


def assert_same(left: Columns, right: Columns) -> None:
    assert list(left) == list(right)
    for name, column in left.items():
        other = right[name]
        if isinstance(column, Ragged):
            assert isinstance(other, Ragged)
            np.testing.assert_array_equal(column.offsets, other.offsets)
            column, other = column.values, other.values
        assert column.dtype == other.dtype
        np.testing.assert_array_equal(column, other)


@given(tables())
def test_both_codecs_restore_every_table(columns):
    schema = schema_of(columns)
    assert_same(decode_records(encode_records(columns, schema), schema), columns)
    assert_same(decode_examples(encode_examples(columns, schema), schema), columns)


@given(tables(), st.randoms())
def test_rows_can_be_taken_and_joined_in_any_order(columns, random):
    count = len(next(iter(columns.values())))
    order = list(range(count))
    random.shuffle(order)
    cut = random.randint(0, count)
    parts = [take(columns, np.array(part, np.int64)) for part in (order[:cut], order[cut:])]
    restored = take(concatenate(parts), np.argsort(np.array(order, np.int64)))
    assert_same(restored, columns)


def test_record_layout_by_hand():
    columns: Columns = {
        "row_id": np.array([0x0102030405060708], np.uint64),
        "token_ids": Ragged(np.array([258, 3], np.uint16), np.array([0, 2])),
    }
    (record,) = encode_records(columns, schema_of(columns))
    # scalar, list length, list; all little-endian
    assert record == bytes([8, 7, 6, 5, 4, 3, 2, 1]) + bytes([2, 0, 0, 0]) + bytes([2, 1, 3, 0])


@pytest.mark.parametrize("change", [lambda r: r[:-1], lambda r: r + b"x", lambda r: r[:5]])
def test_damaged_records_are_noticed(change):
    columns: Columns = {
        "row_id": np.arange(3, dtype=np.uint64),
        "token_ids": Ragged(np.arange(6, dtype=np.uint16), np.array([0, 2, 4, 6])),
    }
    schema = schema_of(columns)
    for encode, decode in (
        (encode_records, decode_records),
        (encode_examples, decode_examples),
    ):
        records = encode(columns, schema)
        records[1] = change(records[1])
        with pytest.raises(DamagedRecordError):
            decode(records, schema)


def test_stock_tensorflow_parses_the_examples():
    tf = pytest.importorskip("tensorflow")
    columns: Columns = {
        "row_id": np.array([2**64 - 1, 5], np.uint64),
        "token_ids": Ragged(np.array([101, 30521, 102, 101], np.uint16), np.array([0, 3, 4])),
        "empty": Ragged(np.zeros(0, np.uint16), np.array([0, 0, 0])),
    }
    records = encode_examples(columns, schema_of(columns))
    parsed = tf.io.parse_example(
        records,
        {
            "row_id": tf.io.FixedLenFeature([], tf.int64),
            "token_ids": tf.io.RaggedFeature(tf.int64),
            "empty": tf.io.RaggedFeature(tf.int64),
        },
    )
    assert parsed["row_id"].numpy().tolist() == [-1, 5]
    assert parsed["token_ids"].to_list() == [[101, 30521, 102], [101]]
    assert parsed["empty"].to_list() == [[], []]


def test_a_feature_that_is_missing_is_named():
    columns: Columns = {"row_id": np.arange(2, dtype=np.uint64)}
    records = encode_examples(columns, schema_of(columns))
    with pytest.raises(DamagedRecordError, match="token_ids"):
        decode_examples(records, (Field("row_id", "uint64"), Field("token_ids", "uint16", True)))
