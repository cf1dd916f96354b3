"""Tables of tokenized documents in files, in place of a shuffle in memory.

On one machine the workers share a disk: each bundle writes the tables to a file of its own, and only
their locations (``StoredBlock``) go through Beam, so memory does not grow with the corpus. A bundle
that fails and is retried writes another file, and that of the failed attempt is never read. The
caller removes the folder.
"""

from __future__ import annotations

import os
import pickle
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.records.ragged import (
    Columns,
    Ragged,
    concatenate,
    concatenate_at,
    offsets_of,
    row_count,
    take,
)
from pipelines.storage.name_errors import naming

_JOINED_TOKENS = 1 << 20

Lengths = NDArray[np.int64]


@dataclass(frozen=True)
class StoredTable:
    """A table in a file, pickled, from byte ``start``."""

    path: str
    start: int

    def read(self) -> Columns:
        """All of it."""
        with open(self.path, "rb") as file:
            file.seek(self.start)
            table: Columns = pickle.load(file)
        return table


@dataclass(frozen=True)
class StoredLists:
    """A ragged column in a file: its values from byte ``start``, the lengths of its lists (int64) from
    ``lengths_start``; None: they are in the index."""

    start: int
    dtype: str
    lengths_start: int | None = None

    def take(self, file: NDArray[np.uint8], lengths: Lengths, rows: NDArray[np.int64]) -> Ragged:
        """Some of the lists; ``file`` is all of the file, ``lengths`` what the index says."""
        if self.lengths_start is not None:
            lengths = np.frombuffer(file, np.int64, len(lengths), self.lengths_start)
        values = int(lengths.sum())
        if not values or not len(rows):
            return Ragged(np.zeros(0, self.dtype), offsets_of(lengths[rows]))
        stored = np.frombuffer(file, self.dtype, values, self.start)
        return Ragged(stored, offsets_of(lengths)).take(rows)


@dataclass(frozen=True)
class StoredBlock:
    """A table in a file: its index, then its lists.

    The index has the plain columns of the table and ``lengths`` (int64), those of ``token_ids``.
    """

    index: StoredTable
    lists: Mapping[str, StoredLists]


class BlockFile:
    """A file of blocks that one writer fills."""

    def __init__(self, folder: str) -> None:
        self._path = os.path.join(folder, f"{uuid.uuid4().hex}.blocks")
        self._file = open(self._path, "wb")  # noqa: SIM115 - closed by close

    def append(self, table: Columns) -> StoredBlock:
        """Writes a table with a column ``token_ids``; it can be read at once."""
        index: Columns = {"lengths": table["token_ids"].lengths}
        index |= {name: column for name, column in table.items() if not isinstance(column, Ragged)}
        stored = self.put(index)
        lists = {}
        with naming(self._path):
            for name, column in table.items():
                if isinstance(column, Ragged):
                    lengths_start = None if name == "token_ids" else self._write(column.lengths)
                    dtype = column.values.dtype.name
                    lists[name] = StoredLists(self._write(column.values), dtype, lengths_start)
            self._file.flush()
        return StoredBlock(stored, lists)

    def _write(self, values: NDArray[Any]) -> int:
        """Where they begin; what follows is aligned."""
        start = self._file.tell()
        self._file.write(np.ascontiguousarray(values).data)
        self._file.write(bytes(-self._file.tell() % 8))
        return start

    def put(self, table: Columns) -> StoredTable:
        """Writes any table, pickled; it can be read at once."""
        start = self._file.tell()
        with naming(self._path):
            pickle.dump(table, self._file, protocol=5)
            self._file.write(bytes(-self._file.tell() % 8))
            self._file.flush()
        return StoredTable(self._path, start)

    def close(self) -> None:
        """Closes the file; what was appended stays."""
        with suppress(OSError):  # of bytes that ``append`` could not write
            self._file.close()


class StoredDocuments:
    """The documents of at least one stored block, of which only the ``index`` is in memory."""

    def __init__(self, blocks: Sequence[StoredBlock]) -> None:
        self._blocks = blocks
        indexes = [block.index.read() for block in blocks]
        self._bounds = offsets_of(np.array([row_count(index) for index in indexes], np.int64))
        self.index = concatenate(indexes)

    def take(self, documents: NDArray[np.int64], *lists: str) -> Columns:
        """The table of the documents with the given indices, in that order; of its ragged columns all,
        or those named."""
        by_block = np.argsort(documents, kind="stable")
        ordered, bounds = documents[by_block], self._bounds
        lengths = self.index["lengths"]
        paths = {block.index.path for block in self._blocks}
        files = {path: np.memmap(path, np.uint8, "r") for path in paths}
        tables: list[Columns] = []
        for i, chosen in enumerate(np.split(ordered, np.searchsorted(ordered, bounds[1:-1]))):
            block, own_lengths = self._blocks[i], lengths[bounds[i] : bounds[i + 1]]
            file, rows = files[block.index.path], chosen - bounds[i]
            tables.append(
                {
                    name: block.lists[name].take(file, own_lengths, rows)
                    for name in lists or block.lists
                }
            )
        table = take(self.index, documents) | concatenate_at(tables, by_block)
        del table["lengths"]
        return table


def store_tables(tables: Iterable[Columns | StoredBlock], folder: str) -> StoredDocuments:
    """The documents of at least one table; those that are not stored yet are now, in ``folder``."""
    with closing(BlockFile(folder)) as file:
        return StoredDocuments([*_store(tables, file)])


def _store(tables: Iterable[Columns | StoredBlock], file: BlockFile) -> Iterator[StoredBlock]:
    """Small tables are joined first: where many workers share the work, a shard has 100,000 of them."""
    held: list[Columns] = []
    tokens = 0
    for table in tables:
        if isinstance(table, StoredBlock):
            yield table
            continue
        held.append(table)
        tokens += len(table["token_ids"].values)
        if tokens >= _JOINED_TOKENS:
            yield file.append(concatenate(held))
            held, tokens = [], 0
    if held:
        yield file.append(concatenate(held))
