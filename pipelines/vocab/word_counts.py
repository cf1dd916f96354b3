"""Words and how often they occur: tables that add up in any order, and the file that keeps a sum.

Beside each count stands how much of it comes from the held-out sample, so that a vocabulary can be
judged by text that another one was learned without.

In the file line 1 is JSON: what the words were counted from and how, what was read, and the checksum
of the rest. Every other line is ``word<TAB>occurrences<TAB>of these held out``, most frequent first.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines import files
from pipelines.errors import UserError

_KIND = "bertmill word counts 1"
# Tables are cut by the word's checksum, so that many workers can add them up.
PARTITIONS = 16


@dataclass(frozen=True)
class WordCounts:
    """n distinct words.

    ``counts`` int64[n]: occurrences; ``held_out`` int64[n]: those of them in the held-out sample;
    ``totals``: documents, bytes and words read, held out and left out, by name, once all are known.
    """

    words: list[str]
    counts: NDArray[np.int64]
    held_out: NDArray[np.int64]
    totals: dict[str, int] = field(default_factory=dict)

    @staticmethod
    def of(
        words: list[str],
        counts: Counter[str],
        held_out: Counter[str],
        totals: dict[str, int] | None = None,
    ) -> WordCounts:
        """The counts of the given words, in their order."""
        number = len(words)
        return WordCounts(
            words,
            np.fromiter(map(counts.__getitem__, words), np.int64, number),
            np.fromiter(map(held_out.__getitem__, words), np.int64, number),
            totals or {},
        )

    def select(self, limit: int, min_count: int) -> WordCounts:
        """The words to learn from, the most frequent being first: up to ``limit`` of them.

        They occur ``min_count`` times or more. What is left out is added to the total
        ``words_dropped_rare``.
        """
        number = min(limit, int(np.searchsorted(-self.counts, -min_count, side="right")))
        totals = Counter(self.totals)
        totals["words_dropped_rare"] += int(self.counts[number:].sum())
        totals["words_counted"] = int(self.counts[:number].sum())
        totals["distinct_words"] = number
        return WordCounts(
            self.words[:number], self.counts[:number], self.held_out[:number], dict(totals)
        )


def cut_by_word(counts: Counter[str], held_out: Counter[str]) -> dict[int, WordCounts]:
    """The counted words, cut into up to ``PARTITIONS`` tables by the word alone."""
    partitions: dict[int, list[str]] = {}
    for word in counts:
        partitions.setdefault(zlib.crc32(word.encode()) % PARTITIONS, []).append(word)
    return {i: WordCounts.of(words, counts, held_out) for i, words in partitions.items()}


def add_words(tables: Iterable[WordCounts]) -> tuple[Counter[str], Counter[str]]:
    """The sum of all tables: occurrences, and those of them that are held out."""
    total: Counter[str] = Counter()
    held_out: Counter[str] = Counter()
    for table in tables:
        total.update(dict(zip(table.words, table.counts.tolist(), strict=True)))
        sampled = np.flatnonzero(table.held_out).tolist()
        held_out.update({table.words[i]: int(table.held_out[i]) for i in sampled})
    return total, held_out


def most_frequent(counts: Counter[str], limit: int, min_count: int = 1) -> list[str]:
    """Up to ``limit`` words, the most frequent ones, by (count, word); none below ``min_count``."""
    enough = (item for item in counts.items() if item[1] >= min_count)
    ranked = sorted(enough, key=lambda item: (-item[1], item[0]))
    return [word for word, _ in ranked[:limit]]


def save_word_counts(path: str, counted: WordCounts, origin: Mapping[str, Any]) -> None:
    """Publishes the file, whole or not at all. ``origin`` (JSON) is what decides its content."""
    columns = zip(counted.words, counted.counts.tolist(), counted.held_out.tolist(), strict=True)
    body = "".join(f"{word}\t{count}\t{held_out}\n" for word, count, held_out in columns).encode()
    head = {
        "kind": _KIND,
        "origin": origin,
        "totals": counted.totals,
        "words": len(counted.words),
        "sha256": hashlib.sha256(body).hexdigest(),
    }
    files.publish_bytes(path, json.dumps(head).encode() + b"\n" + body)


def load_word_counts(path: str, origin: Mapping[str, Any]) -> WordCounts:
    """Reads the file.

    Raises UserError if it is damaged, or holds the counts of something else than ``origin``.
    """
    line, _, body = files.read_bytes(path).partition(b"\n")
    try:
        head = json.loads(line)
        if head["kind"] != _KIND:
            raise ValueError(head["kind"])
        counted_from, totals = dict(head["origin"]), dict(head["totals"])
        number, checksum = int(head["words"]), head["sha256"]
    except (ValueError, KeyError, TypeError):
        raise _damaged(path, "its first line is not that of a word-count file") from None
    if hashlib.sha256(body).hexdigest() != checksum:
        raise _damaged(path, "its words do not match their checksum")
    asked = json.loads(json.dumps(origin))
    if counted_from != asked:
        names = sorted({*counted_from, *asked})
        changed = [name for name in names if counted_from.get(name) != asked.get(name)]
        raise UserError(
            f"--word_counts: {path} holds the counts of something else "
            f"({', '.join(changed)} changed); name another file or add --overwrite"
        )
    cells = body.decode().replace("\n", "\t").split("\t")[:-1]
    return WordCounts(
        words=cells[::3],
        counts=np.fromiter(map(int, cells[1::3]), np.int64, number),
        held_out=np.fromiter(map(int, cells[2::3]), np.int64, number),
        totals=totals,
    )


def _damaged(path: str, problem: str) -> UserError:
    return UserError(
        f"--word_counts: {path} is damaged: {problem}; delete it to count again, or name another"
    )
