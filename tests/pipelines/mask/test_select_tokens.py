"""select_tokens on numbers worked by hand, and on ties."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipelines.mask.select_tokens import select_tokens

TOP = 2**32 - 1


def test_the_smallest_selectable_numbers_are_chosen():
    draws = np.array([[50, 10, 40, 20, 30], [1, 2, 3, 4, 5]], np.uint32)
    selectable = np.array([[1, 0, 1, 1, 1], [0, 1, 1, 0, 1]], bool)
    chosen = select_tokens(draws, selectable, np.array([2, 1]))
    assert chosen.tolist() == [3, 4, 5 + 1]


@given(st.data())
def test_ties_go_to_the_earlier_position(data):
    rows, length = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 9))
    some = st.lists(st.sampled_from([0, 1, 7, TOP]), min_size=length, max_size=length)
    draws = np.array([data.draw(some) for _ in range(rows)], np.uint32)
    selectable = np.array([data.draw(some) for _ in range(rows)]) > 0
    budgets = np.array([data.draw(st.integers(0, int(row.sum()))) for row in selectable])
    expected = []
    for r in range(rows):
        order = sorted(np.flatnonzero(selectable[r]), key=lambda p: (draws[r, p], p))
        expected += sorted(r * length + p for p in order[: budgets[r]])
    assert select_tokens(draws, selectable, budgets).tolist() == expected
