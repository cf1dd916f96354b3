"""Training data: the one place that knows how the outputs of earlier stages are laid out.

A dataset is the output folder of ``pipelines.tokenize`` (rows) or ``pipelines.mask`` (examples, in
``copies`` maskings: training shard ``copy * n + i`` holds copy ``copy`` of row shard i of n, in the
same row order). Rows are numbered 0, 1, … through the shards of a split, whatever the copy.
Shards of a remote dataset are read from the local copies of a ``ShardCache``.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pipelines import files
from pipelines.errors import UserError
from pipelines.records.manifest import Manifest, read_manifest
from pipelines.records.ragged import Columns, concatenate_at
from pipelines.records.shards import (
    DamagedShardError,
    ShardInfo,
    ShardReader,
)
from pipelines.text.vocabulary import Vocabulary
from pipelines.text.vocabulary_source import VOCABULARY_FILE, check_vocabulary
from trainer.data.shard_cache import ShardCache
from trainer.data.skipped_rows import SourceShards

TRAIN, VALIDATION = "train", "validation"
# Shards held open at a time: each is a file handle.
_OPEN_SHARDS = 256


@dataclass(frozen=True)
class Dataset:
    """A finished output of tokenize or mask: its folder, manifest and vocabulary."""

    folder: str
    manifest: Manifest
    vocabulary: Vocabulary

    @property
    def is_masked(self) -> bool:
        """True for examples (masked before), False for rows (masked on the fly)."""
        return self.manifest.stage == "mask"

    @property
    def seq_length(self) -> int:
        """Tokens in a full row."""
        return int(self.manifest.facts["seq_length"])

    @property
    def separates_documents(self) -> bool:
        """True if attention must stay inside each document of a row."""
        return self.manifest.facts["packing"] == "documents"

    @property
    def has_labels(self) -> bool:
        """True if every row says whether its second segment follows its first."""
        return self.manifest.facts["packing"] == "pairs"

    def copies(self, split: str) -> int:
        """How many maskings of each row there are on disk."""
        return int(self.manifest.facts["copies"]) if self.is_masked and split == TRAIN else 1

    def rows(self, split: str) -> int:
        """Number of rows in a split (each counted once, however many copies)."""
        return self.manifest.rows(split) // self.copies(split)

    @property
    def is_remote(self) -> bool:
        """True if its shards have to be fetched."""
        return files.is_remote(self.folder)

    def shards(self, split: str) -> tuple[ShardInfo, ...]:
        """The shards of a split, those of copy 0 first."""
        return self.manifest.splits.get(split, ())

    def train_shards(self) -> SourceShards:
        """The training shards: the names of all, and the rows of those of one copy."""
        shards = self.shards(TRAIN)
        rows = tuple(shard.records for shard in shards[: len(shards) // self.copies(TRAIN)])
        return SourceShards(self.folder, tuple(shard.name for shard in shards), rows)

    def path(self, shard: ShardInfo) -> str:
        """Where a shard is."""
        return files.join(self.folder, shard.name)


def open_dataset(folder: str) -> Dataset:
    """Opens the output of tokenize or mask.

    Raises UserError if it is not finished, or its vocabulary is not its own.
    """
    manifest = read_manifest(folder, ("tokenize", "mask"), flag="data")
    path = files.join(folder, VOCABULARY_FILE)
    if files.is_remote(folder):
        vocabulary = Vocabulary.parse(files.read_bytes(path), source=path)
    else:
        vocabulary = Vocabulary.load(path)
    check_vocabulary(folder, vocabulary, manifest)
    return Dataset(folder, manifest, vocabulary)


def open_datasets(folders: Sequence[str]) -> list[Dataset]:
    """Opens the datasets of a mixture. Raises UserError where they do not fit together."""
    datasets = [open_dataset(folder) for folder in folders]
    first = datasets[0]
    for other in datasets[1:]:
        if other.vocabulary.fingerprint != first.vocabulary.fingerprint:
            raise UserError(
                f"--data: {other.folder} was made with another vocabulary than {first.folder}; "
                "tokenize both with the same"
            )
        for fact in ("seq_length", "lowercase", "strip_accents"):
            mine, theirs = first.manifest.facts[fact], other.manifest.facts[fact]
            if mine != theirs:
                raise UserError(
                    f"--data: {fact} is {mine} in {first.folder} but {theirs} in {other.folder}; "
                    "tokenize both with the same"
                )
    for dataset in datasets:
        if dataset.rows(TRAIN) == 0:
            raise UserError(f"--data: {dataset.folder} holds no training rows")
    return datasets


class RowReader:
    """Random access to the rows of one split of a dataset. Shards are opened when first needed.

    Args:
        dataset, split: what to read.
        cache: where the shards of a remote dataset come from.
    """

    def __init__(self, dataset: Dataset, split: str, cache: ShardCache | None = None):
        self._dataset = dataset
        self._shards = dataset.shards(split)
        self._copies = dataset.copies(split)
        self._cache = cache if dataset.is_remote else None
        self._open: OrderedDict[int, ShardReader] = OrderedDict()

    @cached_property
    def _ends(self) -> NDArray[np.int64]:
        per_copy = len(self._shards) // self._copies
        return np.cumsum([shard.records for shard in self._shards[:per_copy]], dtype=np.int64)

    def read(self, rows: NDArray[np.int64], epochs: NDArray[np.int64]) -> Columns:
        """The rows (at least one) with the given numbers, in that order, as columns.

        Of examples, copy ``epoch`` modulo copies is read. Raises DamagedShardError (a UserError)
        that names the shard if one is missing or damaged.
        """
        shard, record = self._locate(rows, epochs)
        order = np.lexsort((record, shard))
        numbers, starts = np.unique(shard[order], return_index=True)
        tables = [
            self._read_shard(int(number), record[chosen])
            for number, chosen in zip(numbers, np.split(order, starts[1:]), strict=True)
        ]
        return concatenate_at(tables, order)

    def locate(self, rows: NDArray[np.int64], epochs: NDArray[np.int64]) -> list[tuple[str, int]]:
        """The shard's file name and the record's number in it, of each of the given rows."""
        shard, record = self._locate(rows, epochs)
        return [
            (self._shards[number].name, within)
            for number, within in zip(shard.tolist(), record.tolist(), strict=True)
        ]

    def shards_of(self, rows: NDArray[np.int64], epochs: NDArray[np.int64]) -> list[int]:
        """The numbers of the shards that hold the given rows."""
        return np.unique(self._locate(rows, epochs)[0]).tolist()

    def shards_in_epoch(self, shards: Sequence[int], epoch: int) -> list[int]:
        """The numbers, among all copies, of shards (of one copy) in an epoch."""
        return [number + epoch % self._copies * len(self._ends) for number in shards]

    def close_all_but(self, numbers: set[int]) -> None:
        """Closes the shards with other numbers: the room on disk of deleted ones becomes free."""
        for number in [number for number in self._open if number not in numbers]:
            del self._open[number]

    def _locate(
        self, rows: NDArray[np.int64], epochs: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        shard = np.searchsorted(self._ends, rows, side="right")
        record = rows - np.concatenate([[0], self._ends])[shard]
        return shard + epochs % self._copies * len(self._ends), record

    def _read_shard(self, number: int, records: NDArray[np.int64]) -> Columns:
        try:
            return self._reader(number).read(records)
        except DamagedShardError:
            if self._cache is None:
                raise
        # The local copy may have been damaged or thrown away by others since it was verified.
        self._open.pop(number, None)
        self._cache.discard(self._shards[number])
        return self._reader(number).read(records)

    def _reader(self, number: int) -> ShardReader:
        if number in self._open:
            self._open.move_to_end(number)
            return self._open[number]
        dataset, shard = self._dataset, self._shards[number]
        path = dataset.path(shard)
        self._open[number] = ShardReader(
            path if self._cache is None else self._cache.get(path, shard),
            shard,
            dataset.manifest.schema,
            dataset.manifest.facts["format"],
            name=path,
        )
        if len(self._open) > _OPEN_SHARDS:
            self._open.popitem(last=False)
        return self._open[number]
