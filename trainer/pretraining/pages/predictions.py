"""What a pretraining model predicts at the masked positions of a few rows, in words.

Shapes: B rows of a batch, L tokens in a row, S masks in a row, D width of the model, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.pages.shown_tokens import ShownToken
from pipelines.text.vocabulary import Vocabulary
from trainer.data.batches import Batch

# Rows whose logits [B, S, V] are in memory at a time.
_ROWS_AT_ONCE = 8


@dataclass(frozen=True)
class PredictedToken(ShownToken):
    """A token as the model saw it. Where it was to be predicted: ``guess`` is the one that the model
    finds likeliest, ``loss`` (nats) that of the token that was there."""

    guess: str | None = None
    loss: float = 0.0

    @property
    def is_right(self) -> bool:
        """Whether the model's guess is the token that was there."""
        return self.is_masked and self.guess == self.target

    @property
    def probability(self) -> float:
        """What the model gives the token that was there, 0 to 1."""
        return math.exp(-self.loss)


@dataclass(frozen=True)
class PredictedRow:
    """A row with its tokens, document by document and without padding; ``copy`` is its epoch."""

    row_id: int
    copy: int
    documents: list[list[PredictedToken]]

    @property
    def masks(self) -> list[PredictedToken]:
        """The masked tokens from left to right."""
        return [token for tokens in self.documents for token in tokens if token.is_masked]

    @property
    def loss(self) -> float:
        """The mean loss of the masked tokens; 0 without any."""
        return sum(token.loss for token in self.masks) / max(len(self.masks), 1)

    @property
    def right(self) -> int:
        """How many masked tokens the model gets right."""
        return sum(token.is_right for token in self.masks)


def predict_rows(
    model: Any, batch: Batch, vocabulary: Vocabulary, count: int
) -> list[PredictedRow]:
    """The first ``count`` rows of a batch, predicted without dropout by a PretrainingModel."""
    from trainer.models.compiled import compiled

    predict = compiled(model, partial(_predict, model))
    rows = []
    for start in range(0, count, _ROWS_AT_ONCE):
        chosen = slice(start, min(start + _ROWS_AT_ONCE, count))
        arrays = {name: values[chosen] for name, values in batch.arrays.items()}
        losses_BS, guesses_BS = predict(arrays)
        for i in range(len(losses_BS)):
            row = {name: values[i] for name, values in arrays.items()}
            documents = _describe_documents(row, losses_BS[i], guesses_BS[i], vocabulary)
            row_id, copy = int(batch.row_id[start + i]), int(batch.epoch[start + i])
            rows.append(PredictedRow(row_id, copy, documents))
    return rows


def _predict(model: Any, arrays: Mapping[str, Any]) -> tuple[Any, Any]:
    """Tensors: the loss float32[B, S] and the likeliest token int[B, S] at every masked position."""
    from keras import ops

    names = ("token_ids", "segment_ids", "padding_mask")
    inputs = {name: ops.cast(arrays[name], "int32") for name in names}
    if "document_ids" in arrays:
        inputs["document_ids"] = arrays["document_ids"]
    encoded_BSD = model.backbone.encode_at(inputs, arrays["mask_positions"])
    hidden_BSD = model.masked_lm_head.transform(encoded_BSD)
    table_VD = ops.cast(model.backbone.token_embedding.embeddings, hidden_BSD.dtype)
    logits_BSV = ops.cast(ops.matmul(hidden_BSD, ops.transpose(table_VD)), "float32")
    logits_BSV += model.masked_lm_head.output_bias
    targets_BS1 = ops.cast(arrays["mask_ids"], "int32")[..., None]
    target_logits_BS = ops.take_along_axis(logits_BSV, targets_BS1, axis=-1)[..., 0]
    losses_BS = ops.logsumexp(logits_BSV, axis=-1) - target_logits_BS
    return losses_BS, ops.argmax(logits_BSV, axis=-1)


def _describe_documents(
    row: Mapping[str, Any],
    losses_S: NDArray[Any],
    guesses_S: NDArray[Any],
    vocabulary: Vocabulary,
) -> list[list[PredictedToken]]:
    """The tokens of each document of a row; rows without document ids are one document."""
    names = vocabulary.tokens
    tokens = [PredictedToken(names[token]) for token in row["token_ids"].tolist()]
    for slot in np.flatnonzero(row["mask_weights"] > 0).tolist():
        position = int(row["mask_positions"][slot])
        tokens[position] = PredictedToken(
            seen=tokens[position].seen,
            target=names[int(row["mask_ids"][slot])],
            guess=names[int(guesses_S[slot])],
            loss=float(losses_S[slot]),
        )
    owner_L = row["document_ids"] if "document_ids" in row else row["padding_mask"].astype(np.int32)
    return [
        [tokens[position] for position in np.flatnonzero(owner_L == document).tolist()]
        for document in range(1, int(owner_L.max(initial=0)) + 1)
    ]
