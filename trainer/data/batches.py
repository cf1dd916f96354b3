"""Batches for training: read by random access, masked on the fly.

What a step holds is a pure function of (data, weights, seed, batch size, step): rows come from
``trainer.data.step_rows``, masks from ``mask_rows`` with copy = epoch. Rows masked here and examples
masked before by ``pipelines.mask`` give the same batches, bit for bit. The arrays have the same
shapes in every step: token_ids, segment_ids, padding_mask [B, L], mask_positions, mask_ids,
mask_weights [B, S] and, where documents share rows, document_ids [B, L]; where all rows are pairs,
next_sentence_labels [B].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.mask.config import MaskConfig
from trainer.data.dataset import TRAIN, VALIDATION, Dataset, RowReader
from trainer.data.fetch_ahead import FetchAhead
from trainer.data.model_inputs import input_form, make_inputs
from trainer.data.order import step_rows
from trainer.data.shard_cache import ShardCache
from trainer.data.step_rows import TrainingRows

# Validation is the same rows with the same masks in every run, whatever its seed.
VALIDATION_SEED = 0


@dataclass(frozen=True)
class Batch:
    """The arrays of one step (see the module's docstring) and what they were made from.

    ``step`` counts from 0; ``epoch``, ``source``, ``row`` int64[B] and ``row_id`` uint64[B] say
    which rows these are; ``tokens`` is the number of real tokens.
    """

    step: int
    arrays: dict[str, Any]
    epoch: NDArray[np.int64]
    source: NDArray[np.int64]
    row: NDArray[np.int64]
    row_id: NDArray[np.uint64]
    tokens: int


@dataclass(frozen=True)
class RowOrigin:
    """Where a row of a batch comes from: ``record`` number of a ``shard`` (file) in ``folder``, and
    the ids of the documents that are parts of it, in their order."""

    folder: str
    shard: str
    record: int
    doc_ids: list[int]


class BatchMaker:
    """Makes the batch of any step: ``train_batch(k)``, ``validation_batch(k)``.

    Args:
        datasets: what to read, fitting together (``open_datasets``).
        weights: share of each dataset, or None for one pool (see ``step_rows``).
        mask: how to mask rows; examples are masked already. Its seed decides masks only.
        seed: decides the order of rows.
        batch_size: rows in a step, over all hosts.
        host, hosts: this host gets its part of every step.
        window: shards whose rows are shuffled together, or None: all (see ``step_rows``).
        skipped: the rows of each dataset that are never trained on, or None: nowhere any.
        cache: where the shards of remote datasets come from.

    A batch whose shard is missing or damaged raises DamagedShardError (a UserError) that names it.
    """

    def __init__(
        self,
        datasets: Sequence[Dataset],
        *,
        weights: Sequence[float] | None,
        mask: MaskConfig,
        seed: int,
        batch_size: int,
        host: int = 0,
        hosts: int = 1,
        window: int | None = None,
        skipped: Sequence[NDArray[np.int64]] | None = None,
        cache: ShardCache | None = None,
    ):
        self._datasets = list(datasets)
        self._mask, self._cache = mask, cache
        self._batch_size, self._host, self._hosts = batch_size, host, hosts
        self._rows = TrainingRows(
            datasets, skipped, weights=weights, seed=seed, batch_size=batch_size, window=window
        )
        self._readers = {
            split: [RowReader(dataset, split, cache) for dataset in datasets]
            for split in (TRAIN, VALIDATION)
        }
        self._ahead = cache and FetchAhead(datasets, self._readers[TRAIN], cache, self._rows)
        self._form = input_form(datasets, mask)

    def train_batch(self, step: int) -> Batch:
        """The batch of training step ``step`` = 0, 1, …"""
        epoch, source, row = self._rows.step(step, self._host, self._hosts)
        if self._ahead:
            self._ahead.prepare(
                step,
                [
                    reader.shards_of(row[source == i], epoch[source == i])
                    for i, reader in enumerate(self._readers[TRAIN])
                ],
            )
        return self._make(TRAIN, step, epoch, source, row, self._mask)

    def find_origins(self, batch: Batch) -> list[RowOrigin]:
        """Where each row of a training batch comes from."""
        origins: dict[int, RowOrigin] = {}
        for number, reader in enumerate(self._readers[TRAIN]):
            chosen = np.flatnonzero(batch.source == number)
            if not len(chosen):
                continue
            rows, epochs = batch.row[chosen], batch.epoch[chosen]
            doc_ids: Any = reader.read(rows, epochs)["doc_ids"]
            folder = self._datasets[number].folder
            for i, (shard, record) in enumerate(reader.locate(rows, epochs)):
                owners = doc_ids.values[doc_ids.offsets[i] : doc_ids.offsets[i + 1]]
                origins[int(chosen[i])] = RowOrigin(folder, shard, record, owners.tolist())
        return [origins[i] for i in range(len(batch.row))]

    def stop_fetching(self) -> None:
        """Fetches no more shards ahead; what a batch needs still comes."""
        if self._cache:
            self._cache.stop()

    @property
    def validation_steps(self) -> int:
        """How many batches hold all validation rows once."""
        return -(-self._validation_rows // self._batch_size)

    @property
    def _validation_rows(self) -> int:
        return sum(dataset.rows(VALIDATION) for dataset in self._datasets)

    def validation_batch(self, step: int) -> Batch:
        """Part ``step`` of the validation rows, in random order and with fixed masks.

        The last part is filled up with rows whose masks have no weight, and whose labels are -1.
        """
        epoch, source, row = step_rows(
            step,
            rows_per_source=[dataset.rows(VALIDATION) for dataset in self._datasets],
            seed=VALIDATION_SEED,
            global_batch=self._batch_size,
            host=self._host,
            hosts=self._hosts,
        )
        mask = replace(self._mask, seed=VALIDATION_SEED)
        batch = self._make(VALIDATION, step, np.zeros_like(epoch), source, row, mask)
        batch.arrays["mask_weights"][epoch > 0] = 0.0
        if self._form.has_labels:
            batch.arrays["next_sentence_labels"][epoch > 0] = -1
        return batch

    def _make(
        self,
        split: str,
        step: int,
        epoch: NDArray[np.int64],
        source: NDArray[np.int64],
        row: NDArray[np.int64],
        mask: MaskConfig,
    ) -> Batch:
        arrays: dict[str, NDArray[Any]] = {}
        for number, reader in enumerate(self._readers[split]):
            chosen = np.flatnonzero(source == number)
            if not len(chosen):
                continue
            columns = reader.read(row[chosen], epoch[chosen])
            part = make_inputs(self._datasets[number], columns, epoch[chosen], mask, self._form)
            for name, values in part.items():
                if len(chosen) == len(source):
                    arrays[name] = values
                else:
                    shape = (len(source), *values.shape[1:])
                    arrays.setdefault(name, np.zeros(shape, values.dtype))[chosen] = values
        row_id = arrays.pop("row_id")
        tokens = int(np.count_nonzero(arrays["padding_mask"]))
        return Batch(step, arrays, epoch, source, row, row_id, tokens)
