"""Random access to the rows of a dataset, on disk or through the local copies of a ``ShardCache``."""

from __future__ import annotations

import os
from collections import OrderedDict

import numpy as np
from numpy.typing import NDArray

from pipelines.records.ragged import Columns, concatenate_at
from pipelines.records.shards import DamagedShardError, ShardReader, damaged_shard
from pipelines.storage import files
from trainer.data.dataset import Dataset
from trainer.data.shard_cache import ShardCache
from trainer.data.shard_check import ShardCheck

# Shards held open at a time: each is a file handle.
_OPEN_SHARDS = 256


class RowReader:
    """Reads rows of one split of a dataset. Shards are opened when first needed.

    ``cache``: where the shards of a remote dataset come from; ``check``: compares local ones with
    their checksums.
    """

    def __init__(
        self,
        dataset: Dataset,
        split: str,
        cache: ShardCache | None = None,
        check: ShardCheck | None = None,
    ):
        self._dataset = dataset
        self._shards = dataset.shards(split)
        self._copies = dataset.copies(split)
        self._ends = np.cumsum(dataset.shard_rows(split), dtype=np.int64)
        self._cache = cache if dataset.is_remote else None
        self._check = None if dataset.is_remote else check
        self._open: OrderedDict[int, ShardReader] = OrderedDict()

    def read(self, rows: NDArray[np.int64], epochs: NDArray[np.int64]) -> Columns:
        """The rows (at least one) with the given numbers, in that order, as columns.

        Of examples, copy ``epoch`` modulo copies is read. Raises DamagedShardError (a UserError)
        that names the shard if one is missing or damaged, be it one that was read before.
        """
        if self._check:
            self._check.raise_found()
        shard, record = self.locate(rows, epochs)
        order = np.lexsort((record, shard))
        numbers, starts = np.unique(shard[order], return_index=True)
        tables = [
            self._read_shard(int(number), record[chosen])
            for number, chosen in zip(numbers, np.split(order, starts[1:]), strict=True)
        ]
        return concatenate_at(tables, order)

    def locate(
        self, rows: NDArray[np.int64], epochs: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The number of the shard (among those of all copies) of each of the given rows, and of the
        record in it."""
        shard = np.searchsorted(self._ends, rows, side="right")
        record = rows - np.concatenate([[0], self._ends])[shard]
        return self.shard_in_epoch(shard, epochs), record

    def shard_in_epoch(
        self, shard: NDArray[np.int64], epoch: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """The numbers, among the shards of all copies, of shards (of one copy) in some epochs."""
        return shard + epoch % self._copies * len(self._ends)

    def close_all_but(self, numbers: set[int]) -> None:
        """Closes the shards with other numbers: the room on disk of deleted ones becomes free."""
        for number in self._open.keys() - numbers:
            del self._open[number]

    def _read_shard(self, number: int, records: NDArray[np.int64]) -> Columns:
        try:
            return self._reader(number).read(records)
        except DamagedShardError:
            if self._cache is None:
                raise
        # The local copy may have been damaged or deleted by others since it was verified.
        self._open.pop(number, None)
        self._cache.discard(self._shards[number])
        return self._reader(number).read(records)

    def _reader(self, number: int) -> ShardReader:
        if number in self._open:
            self._open.move_to_end(number)
            return self._open[number]
        manifest, shard = self._dataset.manifest, self._shards[number]
        path = self._dataset.path(shard)
        local = path if self._cache is None else self._cache.get(path, shard)
        form = manifest.facts["format"]
        try:
            with files.open_read(local) as file:
                # Whatever takes its place is neither read nor waited for.
                reader = ShardReader(files.place_of(file), shard, manifest.schema, form, name=path)
                opened = os.fstat(file.fileno())
        except FileNotFoundError:
            raise damaged_shard(path, "is missing") from None
        if self._check:
            self._check.begin(path, shard, opened)
        self._open[number] = reader
        if len(self._open) > _OPEN_SHARDS:
            self._open.popitem(last=False)
        return reader
