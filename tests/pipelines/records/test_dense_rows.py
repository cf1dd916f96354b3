"""Packed rows as rectangles."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.errors import UserError
from pipelines.records.dense_rows import dense_rows
from pipelines.records.ragged import Ragged, offsets_of


def rows_of(runs):
    """Rows given as lists of run lengths, with tokens 100, 101, ... over all rows."""
    lengths = [sum(row) for row in runs]
    return {
        "row_id": np.arange(len(runs), dtype=np.uint64) + 5,
        "token_ids": Ragged(np.arange(100, 100 + sum(lengths)), offsets_of(lengths)),
        "segment_lengths": Ragged(
            np.array([n for row in runs for n in row], np.uint16),
            offsets_of([len(row) for row in runs]),
        ),
    }


def test_two_rows_worked_by_hand():
    dense = dense_rows(rows_of([[4, 3], [2]]), 8, pad_id=9)
    assert dense["token_ids"].tolist() == [
        [100, 101, 102, 103, 104, 105, 106, 9],
        [107, 108, 9, 9, 9, 9, 9, 9],
    ]
    assert dense["document_ids"].tolist() == [[1, 1, 1, 1, 2, 2, 2, 0], [1, 1, 0, 0, 0, 0, 0, 0]]
    assert dense["padding_mask"].tolist() == [[True] * 7 + [False], [True] * 2 + [False] * 6]
    assert not dense["segment_ids"].any()
    assert dense["row_id"].tolist() == [5, 6]
    types = {name: array.dtype.name for name, array in dense.items()}
    assert types == {
        "row_id": "uint64",
        "token_ids": "int32",
        "document_ids": "int32",
        "padding_mask": "bool",
        "segment_ids": "int32",
    }


def test_pairs_keep_sides_and_labels():
    rows = rows_of([[6]])
    rows["segment_ids"] = Ragged(np.array([0, 0, 0, 1, 1, 1], np.uint8), np.array([0, 6]))
    rows["next_sentence_labels"] = np.array([1], np.uint8)
    dense = dense_rows(rows, 8, pad_id=0)
    assert dense["segment_ids"].tolist() == [[0, 0, 0, 1, 1, 1, 0, 0]]
    assert dense["segment_ids"].dtype == np.int32
    assert dense["next_sentence_labels"].tolist() == [1]


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(1, 6), min_size=1, max_size=4), max_size=6))
def test_every_run_keeps_its_tokens(runs):
    dense = dense_rows(rows_of(runs), 24, pad_id=0)
    token = 100
    for row, lengths in enumerate(runs):
        for number, length in enumerate(lengths, start=1):
            here = dense["document_ids"][row] == number
            assert dense["token_ids"][row][here].tolist() == list(range(token, token + length))
            token += length
    assert (dense["padding_mask"] == (dense["document_ids"] > 0)).all()
    assert dense["token_ids"].shape == (len(runs), 24)


def test_rows_that_do_not_fit_are_named():
    with pytest.raises(UserError, match="a row has 9 tokens but seq_length is 8"):
        dense_rows(rows_of([[4], [9]]), 8, pad_id=0)
    rows = rows_of([[4]])
    rows["segment_lengths"] = Ragged(np.array([3], np.uint16), np.array([0, 1]))
    with pytest.raises(ValueError, match="runs of 3 tokens in rows of 4"):
        dense_rows(rows, 8, pad_id=0)


@pytest.mark.parametrize("name", ["row_id", "token_ids", "segment_lengths"])
def test_a_missing_column_is_named(name):
    ragged = Ragged(np.zeros(1, np.int32), np.array([0, 1]))
    columns = {
        "row_id": np.zeros(1, np.uint64),
        "token_ids": ragged,
        "segment_lengths": Ragged(np.ones(1, np.int32), np.array([0, 1])),
    }
    assert dense_rows(columns, 4, 0)["token_ids"].shape == (1, 4)
    del columns[name]
    with pytest.raises(UserError, match=f"rows without {name}: the schema"):
        dense_rows(columns, 4, 0)
