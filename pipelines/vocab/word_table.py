"""Words and how often they occur, as compact tables that can be added up in any order."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Tables are cut by the word's checksum, so that many workers can add them up.
PARTITIONS = 16


@dataclass(frozen=True)
class WordTable:
    """n distinct words: ``text`` holds them in UTF-8, one a line; ``counts`` int64[n]."""

    text: bytes
    counts: NDArray[np.int64]

    @staticmethod
    def of(words: Iterable[str], counts: Iterable[int]) -> WordTable:
        """A table of the given words, which hold no line ends."""
        return WordTable("\n".join(words).encode(), np.fromiter(counts, np.int64))

    def words(self) -> list[str]:
        """The words as strings."""
        return self.text.decode().split("\n") if len(self.counts) else []


def cut_by_word(counter: Counter[str]) -> dict[int, WordTable]:
    """The counted words, cut into up to ``PARTITIONS`` tables by the word alone."""
    parts: dict[int, list[str]] = {}
    for word in counter:
        parts.setdefault(zlib.crc32(word.encode()) % PARTITIONS, []).append(word)
    return {
        part: WordTable.of(words, (counter[word] for word in words))
        for part, words in parts.items()
    }


def add_tables(tables: Iterable[WordTable]) -> Counter[str]:
    """The sum of all tables."""
    total: Counter[str] = Counter()
    for table in tables:
        words, counts = table.words(), table.counts.tolist()
        if not total:
            total.update(dict(zip(words, counts, strict=True)))
            continue
        for word, count in zip(words, counts, strict=True):
            total[word] += count
    return total


def most_frequent(counter: Counter[str], limit: int) -> tuple[list[str], NDArray[np.int64]]:
    """The ``limit`` most frequent words by (count, word), and their counts int64[n]."""
    ranked = sorted(counter.items(), key=lambda item: (-item[1], item[0]))[:limit]
    return [word for word, _ in ranked], np.array([count for _, count in ranked], np.int64)
