"""Blocks of tokenized documents, in memory and in files that stand in for a shuffle in memory.

On one machine the workers share a disk: what goes to a shard is written to a file of the bundle's
own and only its place (``StoredBlock``) goes through Beam, so memory does not grow with the corpus.
Files are never appended to by two bundles and never change: a bundle that fails and is retried
writes others, and nobody reads those of the failed attempt. Whoever makes the folder removes it.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from pipelines.records.codec import token_dtype
from pipelines.records.ragged import Ragged, offsets_of, take_ragged


@dataclass(frozen=True)
class TokenBlock:
    """n documents as token ids without special tokens: flat ids, int64[n + 1] offsets, uint64[n]
    ids."""

    token_ids: NDArray[Any]
    offsets: NDArray[np.int64]
    doc_ids: NDArray[np.uint64]

    def __len__(self) -> int:
        return len(self.doc_ids)

    @staticmethod
    def empty(vocabulary_size: int) -> TokenBlock:
        """A block without documents."""
        return TokenBlock(
            np.zeros(0, token_dtype(vocabulary_size)), np.zeros(1, np.int64), np.zeros(0, np.uint64)
        )

    def take(self, documents: NDArray[np.int64]) -> TokenBlock:
        """The documents with the given indices, in that order."""
        taken = take_ragged(Ragged(self.token_ids, self.offsets), documents)
        return TokenBlock(taken.values, taken.offsets, self.doc_ids[documents])


def join_blocks(blocks: Iterable[TokenBlock]) -> TokenBlock:
    """All documents of at least one block, in the blocks' order."""
    parts = list(blocks)
    return TokenBlock(
        np.concatenate([part.token_ids for part in parts]),
        offsets_of(np.concatenate([np.diff(part.offsets) for part in parts])),
        np.concatenate([part.doc_ids for part in parts]),
    )


@dataclass(frozen=True)
class StoredBlock:
    """A block in a file, from byte ``start``: its ``doc_ids``, then the lengths (int64), then the
    ids."""

    path: str
    start: int
    documents: int
    tokens: int
    dtype: str

    def read_index(self) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
        """``doc_ids`` uint64[n] and lengths int64[n]."""
        with open(self.path, "rb") as file:
            file.seek(self.start)
            numbers = np.frombuffer(file.read(16 * self.documents), np.uint64)
        return numbers[: self.documents], numbers[self.documents :].view(np.int64)

    def take(self, documents: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[Any]:
        """The token ids of the documents with the given indices, in that order.

        ``lengths`` are those of the block. Reads no more of the file than it needs.
        """
        if not self.tokens or not len(documents):
            return np.zeros(0, self.dtype)
        start = self.start + 16 * self.documents
        mapped = np.memmap(self.path, self.dtype, "r", start, (self.tokens,))
        if len(documents) == self.documents and (np.diff(documents) == 1).all():
            return np.array(mapped)
        return take_ragged(Ragged(mapped, offsets_of(lengths)), documents).values


class BlockFile:
    """A file of blocks that one writer fills; made with the first block."""

    def __init__(self, folder: str) -> None:
        self._path = os.path.join(folder, f"{uuid.uuid4().hex}.blocks")
        self._file: IO[bytes] | None = None

    def append(self, block: TokenBlock) -> StoredBlock:
        """Writes a block; it can be read at once."""
        if self._file is None:
            self._file = open(self._path, "wb", buffering=0)  # noqa: SIM115 - closed by close
        start = self._file.tell()
        lengths = np.diff(block.offsets)
        for part in (block.doc_ids, lengths, block.token_ids):
            _write_whole(self._file, np.ascontiguousarray(part).view(np.uint8).data)
        return StoredBlock(
            self._path, start, len(block), len(block.token_ids), block.token_ids.dtype.name
        )

    def close(self) -> None:
        """Closes the file; what was appended stays."""
        if self._file is not None:
            self._file.close()


def _write_whole(file: IO[bytes], data: memoryview) -> None:
    while len(data):
        data = data[file.write(data) :]


class StoredDocuments:
    """The documents of many stored blocks, of which only the index is in memory.

    ``doc_ids`` uint64[n] and ``lengths`` int64[n], in the blocks' order.
    """

    def __init__(self, blocks: Sequence[StoredBlock]) -> None:
        self._blocks = blocks
        self._bounds = offsets_of(np.array([block.documents for block in blocks], np.int64))
        indexes = [block.read_index() for block in blocks]
        self.doc_ids = np.concatenate([np.zeros(0, np.uint64), *(ids for ids, _ in indexes)])
        self.lengths = np.concatenate([np.zeros(0, np.int64), *(sizes for _, sizes in indexes)])

    def take(self, documents: NDArray[np.int64]) -> TokenBlock:
        """The documents with the given indices, in that order; reads the blocks one by one."""
        by_place = np.argsort(documents, kind="stable")
        ordered = documents[by_place]
        cuts = np.searchsorted(ordered, self._bounds)
        parts = [np.zeros(0, self._blocks[0].dtype)]
        for i, block in enumerate(self._blocks):
            first, last = int(self._bounds[i]), int(self._bounds[i + 1])
            wanted = ordered[cuts[i] : cuts[i + 1]] - first
            parts.append(block.take(wanted, self.lengths[first:last]))
        values = np.concatenate(parts)
        parts.clear()
        read = TokenBlock(values, offsets_of(self.lengths[ordered]), self.doc_ids[ordered])
        back = np.empty(len(documents), np.int64)
        back[by_place] = np.arange(len(documents))
        return read.take(back)
