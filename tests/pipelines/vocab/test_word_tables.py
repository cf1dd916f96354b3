"""Counted words in tables: sums and cuts that do not depend on how the words came."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.vocab import word_tables
from pipelines.vocab.word_tables import add_words, by_frequency, cut_by_word, merge_frequent, unpack

WORDS = st.binary(min_size=1, max_size=3).filter(lambda word: word.isascii())


def rows(table) -> dict[bytes, tuple[int, int]]:
    return {row["word"]: (row["count"], row["held_out"]) for row in table.to_pylist()}


@given(
    st.lists(st.dictionaries(WORDS, st.integers(1, 4)), min_size=1, max_size=4), st.integers(1, 5)
)
def test_counts_add_up_in_any_cut(counters, partitions):
    held_out = Counter(dict.fromkeys(counters[0], 1))
    by_part: dict[int, list[bytes]] = {}
    for counter in counters:
        sample = Counter({word: 1 for word in counter if word in held_out})
        for part, packed in cut_by_word(Counter(counter), sample, partitions):
            by_part.setdefault(part, []).append(packed)
    tables = [rows(add_words(parts)) for parts in by_part.values()]
    total = sum(map(Counter, counters), Counter())
    assert sum(map(len, tables)) == len(total)
    found = {word: row for table in tables for word, row in table.items()}
    assert {word: count for word, (count, _) in found.items()} == total
    assert all(held == sum(w in c for c in counters) for w, (_, held) in found.items() if held)


@given(
    st.dictionaries(WORDS, st.tuples(st.integers(1, 4), st.integers(0, 4)), max_size=30),
    st.integers(1, 9),
    st.integers(1, 3),
    st.randoms(use_true_random=False),
)
def test_the_most_frequent_whatever_the_tree(words, limit, min_count, draw):
    counts = Counter({word: max(pair) for word, pair in words.items()})
    held_out = Counter({word: min(pair) for word, pair in words.items() if min(pair)})
    first = sorted((-n, word) for word, n in counts.items() if n >= min_count)[:limit]
    sample = sorted((-n, word) for word, n in held_out.items())[:limit]
    expected = {word: (counts[word], held_out[word]) for _, word in first + sample}
    tables = [unpack(packed) for _, packed in cut_by_word(counts, held_out, 7)]
    gone = 0
    while len(tables) > 1:
        draw.shuffle(tables)
        some = draw.randint(2, len(tables))
        merged, dropped = merge_frequent(tables[:some], limit, min_count)
        tables, gone = [merged, *tables[some:]], gone + dropped
    merged, dropped = merge_frequent(tables, limit, min_count)
    assert rows(merged) == expected
    assert gone + dropped == counts.total() - sum(count for count, _ in expected.values())
    names, numbers, held = by_frequency(merged)
    assert list(zip((-numbers).tolist(), names, strict=True)) == sorted(
        (-count, word.decode()) for word, (count, _) in expected.items()
    )
    assert held.tolist() == [held_out[name.encode()] for name in names]


def test_sums_in_between_change_nothing(monkeypatch):
    monkeypatch.setattr(word_tables, "_ROWS_AT_ONCE", 10_000)
    words = Counter({b"word%05d" % i: 1 for i in range(10_000)})
    ((_, packed),) = cut_by_word(words, Counter(), 1)
    summed = add_words(packed for _ in range(300))
    assert len(summed) == 10_000
    assert set(summed["count"].to_pylist()) == {300}
    assert add_words([]).num_rows == 0


@pytest.mark.parametrize("count", [1, 300])
def test_packed_tables_are_small(count):
    words = Counter({b"word%05d" % i: count for i in range(10_000)})
    ((_, packed),) = cut_by_word(words, Counter(), 1)
    assert len(packed) < 10 * 10_000
    assert np.all(unpack(packed)["count"].to_numpy() == count)
