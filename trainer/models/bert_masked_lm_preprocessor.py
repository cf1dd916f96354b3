"""Strings to masked examples for ``BertMaskedLM``, new masks at every call.

The masks come from the pipelines' one masking function: the n-th row that an instance prepares gets
the masks of row_id n under its seed.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from pipelines.mask.config import MaskConfig
from pipelines.mask.mask_rows import mask_rows
from trainer.layers.preprocessing_layer import Text
from trainer.models.preprocessor import Preprocessor
from trainer.tokenizers.bert_tokenizer import BertTokenizer


class MaskedLMPreprocessor(Preprocessor):
    """Base class; ``from_preset`` gives the preset's own kind."""


@keras.saving.register_keras_serializable(package="bertmill")
class BertMaskedLMPreprocessor(MaskedLMPreprocessor):
    """Tokenizes, joins and masks; gives ``(x, y, sample_weight)``.

    Args:
        tokenizer, sequence_length, truncate: as in ``BertTextClassifierPreprocessor``.
        mask_selection_rate: share of a row's tokens to predict.
        mask_selection_length: most positions a row, and the width of ``y``.
        mask_token_rate: chance that a chosen token becomes [MASK].
        random_token_rate: chance that it becomes a random token; otherwise it stays.
        seed: any integer.

    ``x`` has token_ids, padding_mask, segment_ids and mask_positions; ``y`` int32 and
    ``sample_weight`` float32 are [batch, mask_selection_length].
    """

    def __init__(
        self,
        tokenizer: BertTokenizer,
        sequence_length: int = 512,
        truncate: str = "round_robin",
        mask_selection_rate: float = 0.15,
        mask_selection_length: int = 96,
        mask_token_rate: float = 0.8,
        random_token_rate: float = 0.1,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(tokenizer, sequence_length, truncate, **kwargs)
        self.mask_selection_rate = mask_selection_rate
        self.mask_selection_length = mask_selection_length
        self.mask_token_rate = mask_token_rate
        self.random_token_rate = random_token_rate
        self.seed = seed
        self._rows_prepared = 0
        self._rows_lock = threading.Lock()

    def prepare(self, segments: Sequence[list[Text]]) -> dict[str, NDArray]:
        columns = super().prepare(segments)
        rows = len(columns["token_ids"])
        with self._rows_lock:
            first = self._rows_prepared
            self._rows_prepared += rows
        masked, _ = mask_rows(
            columns["token_ids"],
            np.arange(first, first + rows, dtype=np.uint64),
            config=MaskConfig(
                mask_selection_rate=self.mask_selection_rate,
                mask_selection_length=self.mask_selection_length,
                mask_token_rate=self.mask_token_rate,
                random_token_rate=self.random_token_rate,
                seed=self.seed,
            ),
            vocabulary_size=self.tokenizer.vocabulary_size(),
            mask_token_id=self.tokenizer.mask_token_id,
            unselectable_token_ids=self.tokenizer.special_token_ids,
        )
        return columns | masked

    def finish(self, columns: dict[str, Any], y: Any, sample_weight: Any) -> Any:
        inputs = dict(columns)
        labels, weights = inputs.pop("mask_ids"), inputs.pop("mask_weights")
        return keras.utils.pack_x_y_sample_weight(inputs, labels, weights)
