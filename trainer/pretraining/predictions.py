"""What a pretraining model makes of masked rows, in words: each masked position's target, likeliest
token and loss, and the pieces around it. For people to look at: rows are taken a few at a time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.text.vocabulary import Vocabulary

# Rows whose logits are in memory at a time.
_ROWS_AT_ONCE = 8


@dataclass(frozen=True)
class PredictedMask:
    """A masked position: what was there, what the model holds likeliest, and its loss."""

    position: int
    target: str
    guess: str
    loss: float


@dataclass(frozen=True)
class PredictedRow:
    """A row as the model saw it: (position, piece) document by document, and what was masked."""

    documents: list[list[tuple[int, str]]]
    masks: list[PredictedMask]


def predict_rows(
    model: Any, arrays: Mapping[str, NDArray[Any]], vocabulary: Vocabulary, count: int
) -> list[PredictedRow]:
    """The first ``count`` rows of a batch (arrays: see ``trainer.data.batches``), predicted."""
    rows = []
    for start in range(0, count, _ROWS_AT_ONCE):
        part = slice(start, min(start + _ROWS_AT_ONCE, count))
        some = {name: values[part] for name, values in arrays.items()}
        losses, guesses = _predict(model, some)
        rows += [
            PredictedRow(
                documents=_pieces_by_document(some, i, vocabulary),
                masks=_describe_masks(some, i, losses[i], guesses[i], vocabulary),
            )
            for i in range(part.stop - start)
        ]
    return rows


def _predict(model: Any, arrays: Mapping[str, Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """The loss float32[B, S] and the likeliest token int[B, S] at every masked position."""
    from keras import ops

    names = ("token_ids", "segment_ids", "padding_mask")
    inputs = {name: ops.cast(arrays[name], "int32") for name in names}
    if "document_ids" in arrays:
        inputs["document_ids"] = arrays["document_ids"]
    encoded = model.backbone.encode_at(inputs, arrays["mask_positions"])
    hidden = model.masked_lm_head.transform(encoded)
    table = ops.cast(ops.transpose(model.backbone.token_embedding.embeddings), hidden.dtype)
    logits = ops.cast(ops.matmul(hidden, table), "float32") + model.masked_lm_head.output_bias
    labels = ops.cast(arrays["mask_ids"], "int32")[..., None]
    wanted = ops.take_along_axis(logits, labels, axis=-1)[..., 0]
    loss = ops.logsumexp(logits, axis=-1) - wanted
    return ops.convert_to_numpy(loss), ops.convert_to_numpy(ops.argmax(logits, axis=-1))


def _pieces_by_document(
    arrays: Mapping[str, Any], row: int, vocabulary: Vocabulary
) -> list[list[tuple[int, str]]]:
    """(position, piece) of every token that is not padding, document by document."""
    owner = arrays.get("document_ids", arrays["padding_mask"].astype(np.int32))[row]
    pieces = [vocabulary.tokens[token] for token in arrays["token_ids"][row].tolist()]
    return [
        [(position, pieces[position]) for position in np.flatnonzero(owner == document).tolist()]
        for document in range(1, int(owner.max(initial=0)) + 1)
    ]


def _describe_masks(
    arrays: Mapping[str, Any],
    row: int,
    losses: NDArray[Any],
    guesses: NDArray[Any],
    vocabulary: Vocabulary,
) -> list[PredictedMask]:
    used = np.flatnonzero(arrays["mask_weights"][row] > 0).tolist()
    return [
        PredictedMask(
            position=int(arrays["mask_positions"][row, slot]),
            target=vocabulary.tokens[int(arrays["mask_ids"][row, slot])],
            guess=vocabulary.tokens[int(guesses[slot])],
            loss=float(losses[slot]),
        )
        for slot in used
    ]
