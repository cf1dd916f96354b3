"""Tables of tokenized documents in files that stand in for a shuffle in memory.

On one machine the workers share a disk: what goes to a shard is written to a file of the bundle's
own and only where it stands (``StoredBlock``) goes through Beam, so memory does not grow with the
corpus. Files are never appended to by two bundles and never change: a bundle that fails and is
retried writes others, and nobody reads those of the failed attempt. Whoever makes the folder
removes it.
"""

from __future__ import annotations

import os
import pickle
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO

import numpy as np
from numpy.typing import NDArray

from pipelines.records.ragged import (
    Columns,
    Ragged,
    concatenate,
    concatenate_at,
    flat_column,
    offsets_of,
    ragged_column,
    take,
)


@dataclass(frozen=True)
class StoredBlock:
    """A table in a file, from byte ``start``: its index, pickled, then the token ids.

    The index is the table with the column ``lengths`` (int64) in place of ``token_ids``.
    """

    path: str
    start: int
    index_bytes: int
    documents: int
    tokens: int
    dtype: str

    def read_index(self) -> Columns:
        """All columns but ``token_ids``, and ``lengths``."""
        with open(self.path, "rb") as file:
            file.seek(self.start)
            index: Columns = pickle.loads(file.read(self.index_bytes))
        return index

    def take(self, documents: NDArray[np.int64], lengths: NDArray[np.int64]) -> Ragged:
        """The token ids of the documents with the given indices, in that order.

        ``lengths`` are those of the block. Reads no more of the file than it needs.
        """
        if not self.tokens or not len(documents):
            return Ragged(np.zeros(0, self.dtype), offsets_of(lengths[documents]))
        start = self.start + self.index_bytes
        mapped = np.memmap(self.path, self.dtype, "r", start, (self.tokens,))
        if len(documents) == self.documents and (np.diff(documents) == 1).all():
            return Ragged(np.array(mapped), offsets_of(lengths))
        return Ragged(mapped, offsets_of(lengths)).take(documents)


class BlockFile:
    """A file of blocks that one writer fills; made with the first block."""

    def __init__(self, folder: str) -> None:
        self._path = os.path.join(folder, f"{uuid.uuid4().hex}.blocks")
        self._file: IO[bytes] | None = None

    def append(self, table: Columns) -> StoredBlock:
        """Writes a table of tokenized documents; it can be read at once."""
        if self._file is None:
            self._file = open(self._path, "wb", buffering=0)  # noqa: SIM115 - closed by close
        start = self._file.tell()
        tokens = ragged_column(table, "token_ids")
        rest = {name: column for name, column in table.items() if name != "token_ids"}
        index = pickle.dumps(rest | {"lengths": tokens.lengths}, protocol=5)
        index += bytes(-len(index) % 8)  # what follows is aligned
        _write_whole(self._file, memoryview(index))
        _write_whole(self._file, np.ascontiguousarray(tokens.values).view(np.uint8).data)
        sizes = len(index), len(tokens), len(tokens.values)
        return StoredBlock(self._path, start, *sizes, tokens.values.dtype.name)

    def close(self) -> None:
        """Closes the file; what was appended stays."""
        if self._file is not None:
            self._file.close()


def _write_whole(file: IO[bytes], data: memoryview) -> None:
    while len(data):
        data = data[file.write(data) :]


class StoredDocuments:
    """The documents of at least one stored block, of which only the index is in memory.

    ``index``: all columns but ``token_ids``, and ``lengths`` int64[n], in the blocks' order.
    """

    def __init__(self, blocks: Sequence[StoredBlock]) -> None:
        self._blocks = blocks
        self._bounds = offsets_of(np.array([block.documents for block in blocks], np.int64))
        self.index = concatenate([block.read_index() for block in blocks])

    def take(self, documents: NDArray[np.int64]) -> Columns:
        """The table of the documents with the given indices, in that order.

        Reads the blocks one by one.
        """
        by_block = np.argsort(documents, kind="stable")
        ordered = documents[by_block]
        cuts = np.searchsorted(ordered, self._bounds)
        lengths = flat_column(self.index, "lengths")
        parts: list[Columns] = []
        for i, block in enumerate(self._blocks):
            first, last = int(self._bounds[i]), int(self._bounds[i + 1])
            wanted = ordered[cuts[i] : cuts[i + 1]] - first
            parts.append({"token_ids": block.take(wanted, lengths[first:last])})
        table = take(self.index, documents) | concatenate_at(parts, by_block)
        del table["lengths"]
        return table
