"""select_tokens, and find_words, join_words and select_units, on rows worked by hand, and on ties."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.mask.select import select_tokens, select_units
from pipelines.mask.words import Units, find_words, join_words

#                CLS un ##want ##ed run ##ning SEP the SEP PAD
IDS = np.array([[2, 10, 20, 21, 11, 22, 3, 12, 3, 0]], np.int32)
CONTINUES = np.arange(30) >= 20
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


def test_words_are_found():
    words = find_words(IDS, IDS > 4, CONTINUES, None)
    assert words.starts.tolist() == [1, 4, 7]
    assert words.lengths.tolist() == [3, 2, 1]


def test_words_end_with_their_document_and_row():
    ids = np.array([[10, 20, 21, 22], [23, 10, 11, 20]], np.int32)
    documents = np.array([[1, 1, 2, 2], [1, 1, 1, 1]], np.int32)
    words = find_words(ids, ids > 4, CONTINUES, documents)
    assert words.starts.tolist() == [0, 2, 4, 5, 6]
    assert words.lengths.tolist() == [2, 2, 1, 1, 2]


def test_words_are_joined_to_spans():
    words = find_words(IDS, IDS > 4, CONTINUES, None)
    # Spans of two words: "unwanted running", cut before [SEP]; then "the".
    spans = join_words(words, 10, None, np.array([[2, 2]]))
    assert spans.starts.tolist() == [1, 7]
    assert spans.lengths.tolist() == [5, 1]
    assert spans.shortest.tolist() == [3, 1]


def order_of(*starts):
    """Draws that put the units at these positions of a row of 10 into this order."""
    draws = np.full((1, 10), 99, np.uint32)
    draws[0, starts] = range(len(starts))
    return draws


def select(units, draws, budget, word_starts=(1, 4, 7)):
    chosen, leaders = select_units(units, draws, np.array([budget]), np.array(word_starts))
    return chosen.tolist(), leaders.tolist()


def test_words_that_do_not_fit_are_passed_over():
    words = find_words(IDS, IDS > 4, CONTINUES, None)
    assert select(words, order_of(4, 1, 7), 3) == ([4, 5, 7], [4, 4, 7])
    assert select(words, order_of(1, 4, 7), 4) == ([1, 2, 3, 7], [1, 1, 1, 7])
    assert select(words, order_of(1, 4, 7), 2) == ([4, 5], [4, 4])
    assert select(words, order_of(7, 4, 1), 0) == ([], [])
    assert select(words, order_of(7, 4, 1), 6) == ([1, 2, 3, 4, 5, 7], [1, 1, 1, 4, 4, 7])


def test_spans_are_cut_to_whole_words():
    spans = Units(np.array([1, 7]), np.array([5, 1]), np.array([3, 1]))
    assert select(spans, order_of(1, 7), 4) == ([1, 2, 3, 7], [1, 1, 1, 7])
    assert select(spans, order_of(7, 1), 4) == ([1, 2, 3, 7], [1, 1, 1, 7])
    assert select(spans, order_of(1, 7), 2) == ([7], [7])
    assert select(spans, order_of(1, 7), 5) == ([1, 2, 3, 4, 5], [1] * 5)


@settings(deadline=None)
@given(st.data())
def test_equals_one_unit_after_the_other(data):
    lengths = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=60))
    row_length = sum(lengths) + data.draw(st.integers(0, 5))
    starts = np.cumsum(lengths) - lengths
    draws = np.zeros((2, row_length), np.uint32)
    # Few different draws: many ties, which go to the earlier unit.
    random = np.random.default_rng(data.draw(st.integers(0, 9999)))
    draws[:] = random.integers(0, data.draw(st.sampled_from([3, 2**32])), draws.shape)
    budgets = np.array([data.draw(st.integers(0, row_length)) for _ in range(2)])
    both = np.concatenate([starts, starts + row_length])
    units = Units(both, np.tile(lengths, 2), np.tile(lengths, 2))
    expected = []
    for r in range(2):
        left = budgets[r]
        for i in sorted(range(len(lengths)), key=lambda i: (draws[r, starts[i]], i)):
            if lengths[i] <= left:
                left -= lengths[i]
                expected += range(
                    r * row_length + starts[i], r * row_length + starts[i] + lengths[i]
                )
    assert select_units(units, draws, budgets, both)[0].tolist() == sorted(expected)
