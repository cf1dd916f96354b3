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
from collections.abc import Iterable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass

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
class StoredBlock:
    """A table of tokenized documents in a file: its index, then its token ids.

    The index is the table with the column ``lengths`` (int64) in place of ``token_ids``.
    """

    index: StoredTable
    tokens_start: int
    dtype: str

    def take(self, documents: NDArray[np.int64], lengths: NDArray[np.int64]) -> Ragged:
        """The token ids of the documents with the given indices; ``lengths`` are of the block's."""
        tokens = int(lengths.sum())
        if not tokens or not len(documents):
            return Ragged(np.zeros(0, self.dtype), offsets_of(lengths[documents]))
        mapped = np.memmap(self.index.path, self.dtype, "r", self.tokens_start, (tokens,))
        return Ragged(mapped, offsets_of(lengths)).take(documents)


class BlockFile:
    """A file of blocks that one writer fills."""

    def __init__(self, folder: str) -> None:
        self._path = os.path.join(folder, f"{uuid.uuid4().hex}.blocks")
        self._file = open(self._path, "wb")  # noqa: SIM115 - closed by close

    def append(self, table: Columns) -> StoredBlock:
        """Writes a table of tokenized documents; it can be read at once."""
        tokens = table["token_ids"]
        index = {name: column for name, column in table.items() if name != "token_ids"}
        stored = self.put(index | {"lengths": tokens.lengths})
        with naming(self._path):
            tokens_start = self._file.tell()
            self._file.write(np.ascontiguousarray(tokens.values).data)
            self._file.flush()
        return StoredBlock(stored, tokens_start, tokens.values.dtype.name)

    def put(self, table: Columns) -> StoredTable:
        """Writes any table, pickled; it can be read at once."""
        start = self._file.tell()
        with naming(self._path):
            pickle.dump(table, self._file, protocol=5)
            self._file.write(bytes(-self._file.tell() % 8))  # what follows is aligned
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

    def take(self, documents: NDArray[np.int64]) -> Columns:
        """The table of the documents with the given indices, in that order."""
        by_block = np.argsort(documents, kind="stable")
        ordered, bounds = documents[by_block], self._bounds
        lengths = self.index["lengths"]
        tables: list[Columns] = []
        for i, chosen in enumerate(np.split(ordered, np.searchsorted(ordered, bounds[1:-1]))):
            own_lengths = lengths[bounds[i] : bounds[i + 1]]
            tables.append({"token_ids": self._blocks[i].take(chosen - bounds[i], own_lengths)})
        table = take(self.index, documents) | concatenate_at(tables, by_block)
        del table["lengths"]
        return table


def store_tables(tables: Iterable[Columns | StoredBlock], folder: str) -> StoredDocuments:
    """The documents of at least one table; those that are not stored yet are now, in ``folder``."""
    with closing(BlockFile(folder)) as file:
        return StoredDocuments(
            [t if isinstance(t, StoredBlock) else file.append(t) for t in tables]
        )
