"""``--skip_rows FILE``: rows that are never trained on, named as ``trainer.explain`` shows them.

One entry a line: ``SHARD`` (all its rows), ``SHARD RECORD`` or ``SHARD FIRST-LAST``, records counted
from 0; SHARD is a training shard's file name, or a path that ends in it where several folders are
read. Empty lines and what follows ``#`` are passed over. A skipped row takes no place: an epoch is
shorter by it and holds every other row exactly once.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines import files
from pipelines.errors import UserError

_ENTRY = re.compile(r"(?P<shard>\S.*?)(?:\s+(?P<first>\d+)(?:-(?P<last>\d+))?)?")


@dataclass(frozen=True)
class KeptRows:
    """The rows of a source that are left, numbered 0, 1, … without gaps.

    ``shards``: how many are left in each shard; ``skipped``: the numbers of the others, ascending,
    int64[n], counted through all rows.
    """

    shards: tuple[int, ...]
    skipped: NDArray[np.int64]

    @property
    def rows(self) -> int:
        """How many rows are left."""
        return sum(self.shards)

    def numbers_of(self, kept: NDArray[np.int64]) -> NDArray[np.int64]:
        """The number among all rows of each of the given kept ones."""
        # Before the j-th skipped row, s[j] - j rows are kept: it is passed by those from there on.
        kept_before = self.skipped - np.arange(len(self.skipped))
        return kept + np.searchsorted(kept_before, kept, side="right")


def keep_rows(shards: Sequence[int], skipped: NDArray[np.int64]) -> KeptRows:
    """What is left of shards with so many rows each without the given rows (any order, repeats)."""
    skipped = np.unique(np.asarray(skipped, np.int64))
    ends = np.cumsum(np.asarray(shards, np.int64))
    lost = np.bincount(np.searchsorted(ends, skipped, side="right"), minlength=len(ends))
    return KeptRows(tuple((np.asarray(shards, np.int64) - lost).tolist()), skipped)


@dataclass(frozen=True)
class SourceShards:
    """The training shards of a source: its folder, and the name and rows of each shard."""

    folder: str
    names: tuple[str, ...]
    rows: tuple[int, ...]


@dataclass(frozen=True)
class SkippedRows:
    """``rows``: the skipped ones of each source, ascending numbers through its shards, int64."""

    rows: list[NDArray[np.int64]]

    @property
    def fingerprint(self) -> str:
        """A SHA-256 of which rows they are, however a file lists them, in hex."""
        digest = hashlib.sha256()
        for rows in self.rows:
            digest.update(np.array([len(rows), *rows], "<i8").tobytes())
        return digest.hexdigest()

    @property
    def count(self) -> int:
        """How many there are."""
        return sum(len(rows) for rows in self.rows)


def read_skipped_rows(path: str, sources: Sequence[SourceShards]) -> SkippedRows:
    """The rows that the file lists.

    Of examples in several copies, the shards of every copy name the same rows. Raises UserError,
    with the line, for what is no such entry or names no shard or record.
    """
    try:
        text = files.read_bytes(path).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"--skip_rows: cannot read {path} ({getattr(error, 'strerror', None) or error})"
        ) from None
    entries: list[list[NDArray[np.int64]]] = [[] for _ in sources]
    for number, line in enumerate(text.split("\n"), 1):
        entry = line.partition("#")[0].strip()
        if entry:
            source, rows = _read_entry(entry, sources, f"--skip_rows: {path}, line {number}")
            entries[source].append(rows)
    skipped = [np.unique(np.concatenate([np.empty(0, np.int64), *rows])) for rows in entries]
    return SkippedRows(skipped)


def _read_entry(
    entry: str, sources: Sequence[SourceShards], where: str
) -> tuple[int, NDArray[np.int64]]:
    matched = _ENTRY.fullmatch(entry)
    assert matched is not None
    asked = matched["shard"]
    named = [
        (i, j)
        for i, source in enumerate(sources)
        for j, name in enumerate(source.names)
        if asked in (name, files.join(source.folder, name))
        or f"/{files.join(source.folder, name)}".endswith(f"/{asked}")
    ]
    if len(named) != 1:
        problem = (
            "no training shard of the data is called"
            if not named
            else f"{len(named)} folders have a shard called"
        )
        fix = "" if not named else "; put its folder before it"
        raise UserError(f"{where}: {problem} {asked!r}{fix}")
    source, shard = named[0]
    # Copies of the same rows follow each other: shard copy * n + i holds those of shard i.
    count, number = len(sources[source].rows), shard % len(sources[source].rows)
    rows = sources[source].rows[number]
    assert len(sources[source].names) % count == 0
    first = int(matched["first"]) if matched["first"] else 0
    last = int(matched["last"]) if matched["last"] else first if matched["first"] else rows - 1
    if not first <= last < rows:
        if not rows and not matched["first"]:
            return source, np.empty(0, np.int64)
        raise UserError(f"{where}: {asked} has records 0 to {rows - 1}; {entry!r} names others")
    start = sum(sources[source].rows[:number])
    return source, np.arange(start + first, start + last + 1, dtype=np.int64)
