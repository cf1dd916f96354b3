"""Words and how often they occur: what a vocabulary is learned from, and the file that keeps it.

Beside each count stands how much of it comes from the held-out sample, so that a vocabulary can be
judged by text that another one was learned without.

In the file line 1 is JSON: what the words were counted from and how, what was read, and the checksums
of that and of the rest. Every other line is ``word<TAB>occurrences<TAB>of these held out``, most
frequent first.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.beam.step_times import take_times
from pipelines.errors import UserError
from pipelines.storage import files
from pipelines.storage.json_file import parse_json

_KIND = "bertmill word counts 1"


@dataclass(frozen=True)
class WordCounts:
    """n distinct words, most frequent first, ties by the word.

    ``counts`` int64[n]: occurrences; ``held_out`` int64[n]: those of them in the held-out sample;
    ``totals``: documents, bytes and words read, held out and left out, by name.
    """

    words: list[str]
    counts: NDArray[np.int64]
    held_out: NDArray[np.int64]
    totals: dict[str, int]

    def select(self, limit: int, min_count: int) -> WordCounts:
        """The words to learn from: the first ``limit`` that occur ``min_count`` times or more.

        What is left out is added to the total ``words_dropped_rare``.
        """
        number = min(limit, int(np.searchsorted(-self.counts, -min_count, side="right")))
        totals = Counter(self.totals)
        totals["words_dropped_rare"] += int(self.counts[number:].sum())
        totals["words_counted"] = int(self.counts[:number].sum())
        totals["distinct_words"] = number
        return WordCounts(
            self.words[:number], self.counts[:number], self.held_out[:number], dict(totals)
        )


def save_word_counts(path: str, counted: WordCounts, origin: Mapping[str, Any]) -> None:
    """Publishes the file, whole or not at all. ``origin`` (JSON) is what decides its content."""
    columns = zip(counted.words, counted.counts.tolist(), counted.held_out.tolist(), strict=True)
    totals = Counter(counted.totals)
    take_times(totals)
    body = "".join(f"{word}\t{count}\t{held_out}\n" for word, count, held_out in columns).encode()
    head = {
        "kind": _KIND,
        "origin": origin,
        "totals": dict(sorted(totals.items())),
        "words": len(counted.words),
        "sha256": hashlib.sha256(body).hexdigest(),
        "totals_sha256": _sha256_of(totals),
    }
    files.publish_bytes(path, json.dumps(head).encode() + b"\n" + body)


def load_word_counts(path: str, origin: Mapping[str, Any]) -> WordCounts:
    """Reads the file.

    Raises UserError if it is damaged, or holds the counts of something else than ``origin``.
    """
    line, _, body = files.read_bytes(path).partition(b"\n")
    try:
        head = parse_json(line, path, "delete it to count again")
        if head["kind"] != _KIND:
            raise ValueError(head["kind"])
        counted_from, totals = dict(head["origin"]), dict(head["totals"])
        number, checksum = int(head["words"]), head["sha256"]
        # A file of an earlier version has none.
        of_totals = head.get("totals_sha256", _sha256_of(totals))
    except (ValueError, KeyError, TypeError):
        raise _damaged(path, "its first line is not that of a word-count file") from None
    if hashlib.sha256(body).hexdigest() != checksum:
        raise _damaged(path, "its words do not match their checksum")
    if _sha256_of(totals) != of_totals:
        raise _damaged(path, "its totals do not match their checksum")
    asked = json.loads(json.dumps(origin))
    if counted_from != asked:
        names = sorted({*counted_from, *asked})
        changed = [name for name in names if counted_from.get(name) != asked.get(name)]
        raise UserError(
            f"--word_counts: {path} holds the counts of something else "
            f"({', '.join(changed)} changed); name another file or add --overwrite"
        )
    try:
        cells = body.decode().replace("\n", "\t").split("\t")[:-1]
        if len(cells) != 3 * number or not all(type(total) is int for total in totals.values()):
            raise ValueError
        counts = np.fromiter(map(int, cells[1::3]), np.int64, number)
        held_out = np.fromiter(map(int, cells[2::3]), np.int64, number)
        if (held_out < 0).any() or (counts < held_out).any() or (np.diff(counts) > 0).any():
            raise ValueError
    except (ValueError, OverflowError):
        raise _damaged(path, "its lines are not words and their counts") from None
    return WordCounts(words=cells[::3], counts=counts, held_out=held_out, totals=totals)


def _sha256_of(totals: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(totals, sort_keys=True).encode()).hexdigest()


def is_word_counts(path: str) -> bool:
    """True if a file begins as ``save_word_counts`` begins one, whatever follows."""
    beginning = json.dumps({"kind": _KIND})[:-1].encode()
    with files.open_read(path) as file:
        return file.read(len(beginning)) == beginning


def _damaged(path: str, problem: str) -> UserError:
    return UserError(
        f"--word_counts: {path} is damaged: {problem}; delete it to count again, or name another"
    )
