"""Tables as arrays: taking and joining rows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.records import ragged as columns
from pipelines.records.ragged import (
    Ragged,
    concatenate,
    concatenate_at,
    group_rows,
    offsets_of,
    take,
)


def as_ragged(lists: list[list[int]]) -> Ragged:
    values = np.array([value for one in lists for value in one], np.uint16)
    return Ragged(values, offsets_of(np.array([len(one) for one in lists], np.int64)))


def as_lists(ragged: Ragged) -> list[list[int]]:
    ends = ragged.offsets.tolist()
    return [ragged.values[a:b].tolist() for a, b in zip(ends[:-1], ends[1:], strict=True)]


@pytest.mark.parametrize("at_once", [1, 7, 1 << 18])
@given(
    lists=st.lists(st.lists(st.integers(0, 99), max_size=12), min_size=1, max_size=12),
    picks=st.lists(st.integers(0, 10**6), max_size=20),
)
def test_takes_any_lists_in_any_order(at_once, lists, picks):
    rows = np.array([pick % len(lists) for pick in picks], np.int64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(columns, "_VALUES_AT_ONCE", at_once)
        taken = as_ragged(lists).take(rows)
    assert as_lists(taken) == [lists[row] for row in rows]
    starts = as_ragged(lists).take_starts(rows, taken.lengths // 2)
    assert taken.values.dtype == np.uint16
    assert as_lists(starts) == [lists[row][: len(lists[row]) // 2] for row in rows]


def test_tables_are_taken_and_joined_column_by_column():
    table = {"n": np.arange(3), "lists": as_ragged([[1], [], [2, 3]])}
    reversed_table = take(table, np.array([2, 1, 0]))
    joined = concatenate([table, reversed_table])
    assert joined["n"].tolist() == [0, 1, 2, 2, 1, 0]
    assert as_lists(joined["lists"]) == [[1], [], [2, 3], [2, 3], [], [1]]


@given(st.lists(st.integers(-3, 3), max_size=20))
def test_rows_are_grouped_by_key_and_put_back(keys):
    table = {"n": np.arange(len(keys)), "lists": as_ragged([[key + 3] * (key + 3) for key in keys])}
    groups = list(group_rows(np.array(keys, np.int64)))
    assert [key for key, _ in groups] == sorted(set(keys))
    for key, rows in groups:
        assert rows.tolist() == [i for i, other in enumerate(keys) if other == key]
    if groups:
        order = np.concatenate([rows for _, rows in groups])
        joined = concatenate_at([take(table, rows) for _, rows in groups], order)
        assert joined["n"].tolist() == table["n"].tolist()
        assert as_lists(joined["lists"]) == as_lists(table["lists"])
