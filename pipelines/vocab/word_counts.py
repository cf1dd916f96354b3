"""Counted words as a file, so that several vocabularies can be learned after counting once.

Line 1 is JSON: what the words were counted from and how, what was read, and the checksum of the
rest. Every other line is ``word<TAB>occurrences<TAB>of these held out``, most frequent first.
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

from pipelines import files
from pipelines.errors import UserError

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
        found, totals = dict(head["origin"]), dict(head["totals"])
        number, checksum = int(head["words"]), head["sha256"]
    except (ValueError, KeyError, TypeError):
        raise _damaged(path, "its first line is not that of a word-count file") from None
    if hashlib.sha256(body).hexdigest() != checksum:
        raise _damaged(path, "its words do not match their checksum")
    asked = json.loads(json.dumps(origin))
    if found != asked:
        changed = [name for name in sorted({*found, *asked}) if found.get(name) != asked.get(name)]
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


def select_counted(counted: WordCounts, limit: int, min_count: int) -> WordCounts:
    """The words to learn from: the first ``limit`` that occur ``min_count`` times or more.

    What is left out is added to the totals ``words_dropped_rare``; the held-out sample's own words
    are not: they stay in ``counted``.
    """
    number = min(limit, int(np.searchsorted(-counted.counts, -min_count, side="right")))
    totals = Counter(counted.totals)
    totals["words_dropped_rare"] += int(counted.counts[number:].sum())
    totals["words_counted"] = int(counted.counts[:number].sum())
    totals["distinct_words"] = number
    return WordCounts(
        counted.words[:number], counted.counts[:number], counted.held_out[:number], dict(totals)
    )
