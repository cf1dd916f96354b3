"""Batches for training: read by random access, masked on the fly.

What a step holds is a pure function of (data, weights, seed, batch size, step): rows come from
``trainer.data.order``, masks from ``mask_rows`` with copy = epoch. Rows masked here and examples
masked before by ``pipelines.mask`` give the same batches, bit for bit.

Shapes: B rows of a step that this process reads, L tokens in a row, S masks in a row; the same in
every step. Arrays: token_ids, segment_ids, padding_mask [B, L], mask_positions, mask_ids,
mask_weights [B, S] and, where documents share rows, document_ids [B, L]; where all rows are pairs,
next_sentence_labels [B]. A batch may mix rows of several datasets, so what one of them has decides
the arrays of all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import UserError
from pipelines.mask.config import MaskConfig
from pipelines.mask.mask_rows import mask_dense_rows
from pipelines.records.dense_rows import dense_rows
from pipelines.records.ragged import Columns, group_rows
from trainer.data.dataset import TRAIN, VALIDATION, Dataset
from trainer.data.fetch_ahead import FetchAhead
from trainer.data.order import RowOrder, StepRows
from trainer.data.row_reader import RowReader
from trainer.data.shard_cache import ShardCache
from trainer.data.shard_check import ShardCheck

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

    def take(self, rows: NDArray[np.int64]) -> Batch:
        """The batch of the rows with these indices alone."""
        arrays = {name: values[rows] for name, values in self.arrays.items()}
        tokens = int(np.count_nonzero(arrays["padding_mask"]))
        given = (self.epoch[rows], self.source[rows], self.row[rows], self.row_id[rows])
        return Batch(self.step, arrays, *given, tokens)


@dataclass(frozen=True)
class RowOrigin:
    """Where a row of a batch comes from: ``record`` number of a ``shard`` (file) in ``folder``, and
    the ids of the documents in it, in their order, with how many tokens each has there."""

    folder: str
    shard: str
    record: int
    doc_ids: list[int]
    lengths: list[int]


class BatchMaker:
    """Makes the batch of any step: ``train_batch(k)``, ``validation_batch(k)``.

    Args:
        datasets: what to read, fitting together (``open_datasets``).
        order: which of the training rows each step has.
        mask: how to mask rows; examples are masked already. Its seed decides masks only.
        host, hosts: this host gets its part of every step.
        cache: where the shards of remote datasets come from.
        check: compares local shards with their checksums; None: nobody does.

    Making a batch raises UserError for a shard that is missing or damaged (DamagedShardError), and
    for rows that do not fit their dataset's length or vocabulary; both name where.
    """

    def __init__(
        self,
        datasets: Sequence[Dataset],
        order: RowOrder,
        mask: MaskConfig,
        *,
        host: int = 0,
        hosts: int = 1,
        cache: ShardCache | None = None,
        check: ShardCheck | None = None,
    ):
        self.datasets, self._mask, self._cache = datasets, mask, cache
        self._host, self._hosts = host, hosts
        self._train_order = order
        self._validation_order = RowOrder(
            [dataset.shard_rows(VALIDATION) for dataset in datasets],
            seed=VALIDATION_SEED,
            batch_size=order.batch_size,
        )
        self._readers = {
            split: [RowReader(dataset, split, cache, check) for dataset in datasets]
            for split in (TRAIN, VALIDATION)
        }
        self._ahead = cache and FetchAhead(datasets, self._readers[TRAIN], cache, order)
        self._masks_per_row = max(_masks_per_row(dataset, mask) for dataset in datasets)
        self._separates_documents = any(dataset.separates_documents for dataset in datasets)
        self._has_labels = all(dataset.has_labels for dataset in datasets)

    def train_batch(self, step: int) -> Batch:
        """The batch of training step ``step`` = 0, 1, …"""
        rows = self._train_order.rows(step, self._host, self._hosts)
        if self._ahead:
            self._ahead.prepare(step, rows)
        return self._make(TRAIN, step, rows, self._mask)

    @property
    def validation_steps(self) -> int:
        """How many batches hold all validation rows once."""
        rows = sum(dataset.rows(VALIDATION) for dataset in self.datasets)
        return -(-rows // self._validation_order.batch_size)

    def validation_batch(self, step: int) -> Batch:
        """Batch ``step`` of the validation rows, in random order and with fixed masks.

        The last one is filled up with rows whose masks have no weight, and whose labels are -1.
        """
        epoch, source, row = self._validation_order.rows(step, self._host, self._hosts)
        mask = replace(self._mask, seed=VALIDATION_SEED)
        batch = self._make(VALIDATION, step, (np.zeros_like(epoch), source, row), mask)
        batch.arrays["mask_weights"][epoch > 0] = 0.0
        if self._has_labels:
            batch.arrays["next_sentence_labels"][epoch > 0] = -1
        return batch

    def sample_batch(self) -> Batch:
        """Rows to show or try a model on: of validation where the data has any, else of training.

        Each is there once, however small the data is, and those without masks are left out.
        """
        batch = self.validation_batch(0) if self.validation_steps else self.train_batch(0)
        first = np.sort(np.unique(batch.row_id, return_index=True)[1])
        masked = first[batch.arrays["mask_weights"][first].any(axis=1)]
        return batch.take(masked if len(masked) else first)

    def find_origins(self, batch: Batch) -> list[RowOrigin]:
        """Where each row of a training batch comes from."""
        origins: dict[int, RowOrigin] = {}
        for number, chosen in group_rows(batch.source):
            dataset, reader = self.datasets[number], self._readers[TRAIN][number]
            rows, epochs = batch.row[chosen], batch.epoch[chosen]
            shards, records = reader.locate(rows, epochs)
            columns = reader.read(rows, epochs)
            doc_ids, lengths = (
                np.split(columns[name].values, columns[name].offsets[1:-1])
                for name in ("doc_ids", "segment_lengths")
            )
            for i, place in enumerate(chosen.tolist()):
                shard = dataset.shards(TRAIN)[shards[i]].name
                each = doc_ids[i].tolist(), lengths[i].tolist()
                origins[place] = RowOrigin(dataset.folder, shard, int(records[i]), *each)
        return [origins[place] for place in range(len(batch.row))]

    def stop_fetching(self) -> None:
        """Fetches no more shards ahead; what a batch needs still comes."""
        if self._cache:
            self._cache.stop()

    def _make(self, split: str, step: int, rows: StepRows, mask: MaskConfig) -> Batch:
        epoch, source, row = rows
        arrays: dict[str, NDArray[Any]] = {}
        for number, chosen in group_rows(source):
            dataset = self.datasets[number]
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
            whole_rows = dense["padding_mask"].astype(np.int32)
            arrays["document_ids"] = (
                dense["document_ids"] if dataset.separates_documents else whole_rows
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


def _masks_per_row(dataset: Dataset, mask: MaskConfig) -> int:
    if dataset.is_masked:
        return int(dataset.manifest.facts["mask"]["mask_selection_length"])
    return mask.selection_length(dataset.seq_length)


def _stored_masks(
    columns: Columns, masks_per_row: int, vocabulary_size: int
) -> dict[str, NDArray[Any]]:
    """The mask arrays [B, S] of examples."""
    positions, ids = columns["mask_positions"], columns["mask_ids"]
    tokens = columns["token_ids"]
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
