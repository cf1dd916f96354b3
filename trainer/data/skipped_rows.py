"""``--skip_rows FILE``: rows that are never trained on, named as ``trainer.explain`` shows them.

One entry a line: ``SHARD`` (all its rows), ``SHARD RECORD`` or ``SHARD FIRST-LAST``, records counted
from 0; SHARD is a training shard's file name, or a path that ends in it where several folders are
read. Empty lines and what follows ``#`` are ignored. A skipped row takes no place: an epoch is
shorter by it and holds every other row exactly once.

Skipped rows are given by their numbers through a dataset's training shards: ascending, int64.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import UserError
from pipelines.storage import files
from trainer.data.dataset import TRAIN, Dataset

_ENTRY = re.compile(r"(?P<shard>\S.*?)(?:\s+(?P<first>\d+)(?:-(?P<last>\d+))?)?")


def fingerprint_rows(skipped: Sequence[NDArray[np.int64]]) -> str:
    """A SHA-256 (hex) of which rows of each dataset are skipped, however a file lists them."""
    digest = hashlib.sha256()
    for rows in skipped:
        digest.update(np.array([len(rows), *rows], "<i8").tobytes())
    return digest.hexdigest()


def read_skipped_rows(path: str, datasets: Sequence[Dataset]) -> list[NDArray[np.int64]]:
    """The rows of each dataset that the file lists.

    Of examples in several copies, the shards of every copy name the same rows. Raises UserError,
    with the line, for an entry that names no shard or no record, and if no row of a dataset is left.
    """
    try:
        text = files.read_bytes(path).decode()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"--skip_rows: cannot read {path} ({reason})") from None
    listed: list[list[NDArray[np.int64]]] = [[np.empty(0, np.int64)] for _ in datasets]
    for number, line in enumerate(text.split("\n"), 1):
        if entry := line.partition("#")[0].strip():
            owner, rows = _read_entry(entry, datasets, f"--skip_rows: {path}, line {number}")
            listed[owner].append(rows)
    skipped = [np.unique(np.concatenate(rows)) for rows in listed]
    for dataset, rows in zip(datasets, skipped, strict=True):
        if len(rows) == dataset.rows(TRAIN):
            raise UserError(f"--skip_rows: no training row of {dataset.folder} is left")
    return skipped


def _read_entry(
    entry: str, datasets: Sequence[Dataset], where: str
) -> tuple[int, NDArray[np.int64]]:
    """The number of a dataset and the rows of it that an entry names."""
    matched = _ENTRY.fullmatch(entry)
    assert matched is not None
    name = matched["shard"]
    candidates = [
        (i, j)
        for i, dataset in enumerate(datasets)
        for j, shard in enumerate(dataset.shards(TRAIN))
        if name == shard.name or f"/{dataset.path(shard)}".endswith(f"/{name}")
    ]
    if not candidates:
        raise UserError(f"{where}: no training shard of the data is called {name!r}")
    if len(candidates) > 1:
        raise UserError(
            f"{where}: {len(candidates)} folders have a shard called {name!r}; put its folder "
            "before it"
        )
    number, shard = candidates[0]
    counts = datasets[number].shard_rows(TRAIN)
    # Copies of the same rows follow each other: shard copy * n + i holds those of shard i of n.
    shard %= len(counts)
    start, rows = sum(counts[:shard]), counts[shard]
    if matched["first"] is None:
        return number, np.arange(start, start + rows, dtype=np.int64)
    first, last = int(matched["first"]), int(matched["last"] or matched["first"])
    if not first <= last < rows:
        raise UserError(f"{where}: {name} has records 0 to {rows - 1}; {entry!r} names others")
    return number, np.arange(start + first, start + last + 1, dtype=np.int64)
