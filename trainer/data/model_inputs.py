"""Rows as the arrays that the model takes, masked: here, or before by ``pipelines.mask``.

A batch may mix rows of several datasets, so what one of them has (documents that share rows, labels,
a number of masks) decides the arrays of all: their ``InputForm``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import UserError
from pipelines.mask.config import MaskConfig
from pipelines.mask.mask_rows import mask_dense_rows
from pipelines.records.dense_rows import dense_rows
from pipelines.records.ragged import Columns, Ragged
from trainer.data.dataset import Dataset


@dataclass(frozen=True)
class InputForm:
    """Which arrays every batch of some datasets has.

    ``masks``: the width S of the mask arrays; ``separates_documents``: with document_ids;
    ``has_labels``: with next_sentence_labels.
    """

    masks: int
    separates_documents: bool
    has_labels: bool


def input_form(datasets: Sequence[Dataset], mask: MaskConfig) -> InputForm:
    """The form that fits all of the datasets."""
    return InputForm(
        masks=max(_masks_in(dataset, mask) for dataset in datasets),
        separates_documents=any(dataset.separates_documents for dataset in datasets),
        has_labels=all(dataset.has_labels for dataset in datasets),
    )


def make_inputs(
    dataset: Dataset,
    columns: Columns,
    epoch: NDArray[np.int64],
    mask: MaskConfig,
    form: InputForm,
) -> dict[str, NDArray[Any]]:
    """The arrays of ``trainer.data.batches``, and row_id uint64[B], of rows of one dataset.

    Row i is masked as copy ``epoch[i]`` unless the dataset's rows are masked already. Raises
    UserError, with the folder, for rows that do not fit the dataset's length or vocabulary.
    """
    vocabulary = dataset.vocabulary
    try:
        dense = dense_rows(columns, dataset.seq_length, vocabulary.pad_id)
    except UserError as error:
        raise UserError(f"--data: {dataset.folder}: {error}") from None
    arrays = {name: dense[name] for name in ("segment_ids", "padding_mask", "row_id")}
    if form.separates_documents:
        # Where only other datasets separate documents, the whole row is one.
        arrays["document_ids"] = (
            dense["document_ids"]
            if dataset.separates_documents
            else dense["padding_mask"].astype(np.int32)
        )
    if form.has_labels:
        arrays["next_sentence_labels"] = dense["next_sentence_labels"].astype(np.int32)
    if dataset.is_masked:
        masked = _stored_masks(dataset, columns, form.masks)
        masked["token_ids"] = dense["token_ids"]
    else:
        masked = _fresh_masks(dataset, dense, epoch, mask, form.masks)
    return arrays | masked


def _masks_in(dataset: Dataset, mask: MaskConfig) -> int:
    if dataset.is_masked:
        return int(dataset.manifest.facts["mask"]["mask_selection_length"])
    return mask.selection_length(dataset.seq_length)


def _stored_masks(dataset: Dataset, columns: Columns, width: int) -> dict[str, NDArray[Any]]:
    positions: Any = columns["mask_positions"]
    ids: Any = columns["mask_ids"]
    size = dataset.vocabulary.size
    tokens: Any = columns["token_ids"]
    highest = max(int(c.values.max(initial=0)) for c in (tokens, ids))
    if highest >= size:
        raise UserError(
            f"--data: {dataset.folder}: token id {highest} is outside its vocabulary of "
            f"{size:,} pieces; make the examples again"
        )
    used = np.arange(width) < positions.lengths[:, None]
    return {
        "mask_positions": _spread(positions, used),
        "mask_ids": _spread(ids, used),
        "mask_weights": used.astype(np.float32),
    }


def _fresh_masks(
    dataset: Dataset,
    dense: dict[str, NDArray[Any]],
    epoch: NDArray[np.int64],
    mask: MaskConfig,
    width: int,
) -> dict[str, NDArray[Any]]:
    masked, _ = mask_dense_rows(dense, dataset.vocabulary, mask, epoch)
    missing = width - masked["mask_ids"].shape[1]
    return {
        name: values if name == "token_ids" else np.pad(values, ((0, 0), (0, missing)))
        for name, values in masked.items()
    }


def _spread(column: Ragged, used: NDArray[np.bool_]) -> NDArray[np.int32]:
    dense = np.zeros(used.shape, np.int32)
    dense[used] = column.values
    return dense
