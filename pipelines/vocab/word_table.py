"""Words and how often they occur, as compact tables that can be added up in any order.

A word is its UTF-8 here. Beside each count stands how much of it comes from the held-out sample,
so that the vocabulary can be judged by text that another one was learned without.
"""

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
    """n distinct words: ``text`` holds them in UTF-8, one a line; ``counts`` int64[n] are their
    occurrences, ``held_out`` int64[n] those of them in the held-out sample."""

    text: bytes
    counts: NDArray[np.int64]
    held_out: NDArray[np.int64]

    @staticmethod
    def of(words: list[bytes], counts: Counter[bytes], held_out: Counter[bytes]) -> WordTable:
        """A table of the given words, which hold no line ends."""
        number = len(words)
        return WordTable(
            b"\n".join(words),
            np.fromiter(map(counts.__getitem__, words), np.int64, number),
            np.fromiter(map(held_out.__getitem__, words), np.int64, number),
        )

    def words(self) -> list[bytes]:
        """The words."""
        return self.text.split(b"\n") if len(self.counts) else []


def cut_by_word(counts: Counter[bytes], held_out: Counter[bytes]) -> dict[int, WordTable]:
    """The counted words, cut into up to ``PARTITIONS`` tables by the word alone."""
    parts: dict[int, list[bytes]] = {}
    for word in counts:
        parts.setdefault(zlib.crc32(word) % PARTITIONS, []).append(word)
    return {part: WordTable.of(words, counts, held_out) for part, words in parts.items()}


def add_tables(tables: Iterable[WordTable]) -> tuple[Counter[bytes], Counter[bytes]]:
    """The sum of all tables: occurrences, and those of them that are held out."""
    total: Counter[bytes] = Counter()
    held_out: Counter[bytes] = Counter()
    for table in tables:
        words = table.words()
        _add(total, words, table.counts)
        sampled = np.flatnonzero(table.held_out)
        _add(held_out, [words[i] for i in sampled.tolist()], table.held_out[sampled])
    return total, held_out


def _add(total: Counter[bytes], words: list[bytes], counts: NDArray[np.int64]) -> None:
    if not total:
        total.update(dict(zip(words, counts.tolist(), strict=True)))
        return
    for word, count in zip(words, counts.tolist(), strict=True):
        total[word] += count


def most_frequent(counts: Counter[bytes], limit: int, min_count: int = 1) -> list[bytes]:
    """Up to ``limit`` words, the most frequent ones, by (count, word); none below ``min_count``."""
    enough = (item for item in counts.items() if item[1] >= min_count)
    ranked = sorted(enough, key=lambda item: (-item[1], item[0]))
    return [word for word, _ in ranked[:limit]]
