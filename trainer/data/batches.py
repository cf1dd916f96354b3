"""Batches for training: read by random access, masked on the fly.

What a step holds is a pure function of (data, weights, seed, batch size, step): rows come from
``trainer.data.step_rows``, masks from ``mask_rows`` with copy = epoch. Rows masked here and examples
masked before by ``pipelines.mask`` give the same batches, bit for bit.

Shapes: B rows of a step that this process reads, L tokens in a row, S masks in a row; the same in
every step. Arrays: token_ids, segment_ids, padding_mask [B, L], mask_positions, mask_ids,
mask_weights [B, S] and, where documents share rows, document_ids [B, L]; where all rows are pairs,
next_sentence_labels [B]. A batch may mix rows of several datasets, so what one of them has decides
the arrays of all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import UserError
from pipelines.mask.config import MaskConfig
from pipelines.mask.mask_rows import mask_dense_rows
from pipelines.records.dense_rows import dense_rows
from pipelines.records.ragged import Columns
from trainer.data.dataset import TRAIN, VALIDATION, Dataset, RowReader
from trainer.data.fetch_ahead import FetchAhead
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

    Making a batch raises UserError for a shard that is missing or damaged (DamagedShardError), and
    for rows that do not fit their dataset's length or vocabulary; both name where.
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
        self._masks_per_row = max(_masks_per_row(dataset, mask) for dataset in datasets)
        self._separates_documents = any(dataset.separates_documents for dataset in datasets)
        self._has_labels = all(dataset.has_labels for dataset in datasets)

    def train_batch(self, step: int) -> Batch:
        """The batch of training step ``step`` = 0, 1, …"""
        epoch, source, row = self._rows.step(step, self._host, self._hosts)
        if self._ahead:
            self._ahead.prepare(step, epoch, source, row)
        return self._make(TRAIN, step, epoch, source, row, self._mask)

    def find_origins(self, batch: Batch) -> list[RowOrigin]:
        """Where each row of a training batch comes from."""
        origins: dict[int, RowOrigin] = {}
        for number, chosen in _rows_of_sources(batch.source):
            reader = self._readers[TRAIN][number]
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
        return -(-sum(dataset.rows(VALIDATION) for dataset in self._datasets) // self._batch_size)

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
        if self._has_labels:
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
        for number, chosen in _rows_of_sources(source):
            dataset = self._datasets[number]
            columns = self._readers[split][number].read(row[chosen], epoch[chosen])
            try:
                inputs = self._inputs(dataset, columns, epoch[chosen], mask)
            except UserError as error:
                raise UserError(f"--data: {dataset.folder}: {error}") from None
            if len(chosen) == len(source):
                arrays = inputs
                break
            for name, values in inputs.items():
                shape = (len(source), *values.shape[1:])
                arrays.setdefault(name, np.zeros(shape, values.dtype))[chosen] = values
        row_id = arrays.pop("row_id")
        tokens = int(np.count_nonzero(arrays["padding_mask"]))
        return Batch(step, arrays, epoch, source, row, row_id, tokens)

    def _inputs(
        self, dataset: Dataset, columns: Columns, epoch: NDArray[np.int64], mask: MaskConfig
    ) -> dict[str, NDArray[Any]]:
        """The arrays, and row_id uint64[B], of rows of one dataset; row i is masked as copy
        ``epoch[i]`` unless the dataset's rows are masked already."""
        dense = dense_rows(columns, dataset.seq_length, dataset.vocabulary.pad_id)
        arrays = {name: dense[name] for name in ("segment_ids", "padding_mask", "row_id")}
        if self._separates_documents:
            # Where only other datasets separate documents, the whole row is one.
            arrays["document_ids"] = (
                dense["document_ids"]
                if dataset.separates_documents
                else dense["padding_mask"].astype(np.int32)
            )
        if self._has_labels:
            arrays["next_sentence_labels"] = dense["next_sentence_labels"].astype(np.int32)
        if dataset.is_masked:
            stored = _stored_masks(columns, self._masks_per_row, dataset.vocabulary.size)
            return {**arrays, **stored, "token_ids": dense["token_ids"]}
        masked, _ = mask_dense_rows(dense, dataset.vocabulary, mask, epoch)
        if missing := self._masks_per_row - masked["mask_ids"].shape[1]:
            for name in ("mask_positions", "mask_ids", "mask_weights"):
                masked[name] = np.pad(masked[name], ((0, 0), (0, missing)))
        return arrays | masked


def _rows_of_sources(source: NDArray[np.int64]) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Each dataset that rows of a batch come from, and which rows those are."""
    for number in np.unique(source).tolist():
        yield number, np.flatnonzero(source == number)


def _masks_per_row(dataset: Dataset, mask: MaskConfig) -> int:
    if dataset.is_masked:
        return int(dataset.manifest.facts["mask"]["mask_selection_length"])
    return mask.selection_length(dataset.seq_length)


def _stored_masks(
    columns: Columns, masks_per_row: int, vocabulary_size: int
) -> dict[str, NDArray[Any]]:
    """The mask arrays [B, S] of examples."""
    positions: Any = columns["mask_positions"]
    ids: Any = columns["mask_ids"]
    tokens: Any = columns["token_ids"]
    highest = max(int(column.values.max(initial=0)) for column in (tokens, ids))
    if highest >= vocabulary_size:
        raise UserError(
            f"token id {highest} is outside its vocabulary of {vocabulary_size:,} pieces; make the "
            "examples again"
        )
    used = np.arange(masks_per_row) < positions.lengths[:, None]
    arrays: dict[str, NDArray[Any]] = {}
    for name, column in (("mask_positions", positions), ("mask_ids", ids)):
        arrays[name] = np.zeros(used.shape, np.int32)
        arrays[name][used] = column.values
    return {**arrays, "mask_weights": used.astype(np.float32)}
