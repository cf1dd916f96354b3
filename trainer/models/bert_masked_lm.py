"""BERT for masked language modelling, as a task with KerasNLP's interface.

For fast pretraining use ``PretrainingModel``: this task returns the logits themselves.
"""

from __future__ import annotations

from typing import Any

import keras

from trainer.models.bert_backbone import BertBackbone
from trainer.models.bert_masked_lm_preprocessor import BertMaskedLMPreprocessor
from trainer.models.pretraining_model import bert_masked_lm_head
from trainer.models.task import Task


class MaskedLM(Task):
    """Base class; ``MaskedLM.from_preset`` gives the preset's own kind."""

    def compile(
        self,
        optimizer: Any = "auto",
        loss: Any = "auto",
        *,
        weighted_metrics: Any = "auto",
        **kwargs: Any,
    ) -> None:
        """As ``Task.compile``; the accuracy counts each position by its weight."""
        super().compile(optimizer, loss, weighted_metrics=weighted_metrics, **kwargs)


@keras.saving.register_keras_serializable(package="bertmill")
class BertMaskedLM(MaskedLM):
    """Predicts masked tokens.

    Args:
        backbone: a ``BertBackbone``.
        preprocessor: a ``BertMaskedLMPreprocessor``, or None where inputs are preprocessed.
        head_options: arguments of ``MaskedLMHead`` that differ from KerasNLP's; for heads that were
            trained elsewhere.

    Inputs are the backbone's and ``mask_positions`` int[batch, masks]; the output is logits
    float[batch, masks, vocabulary_size].
    """

    preprocessor_cls = BertMaskedLMPreprocessor

    def __init__(
        self,
        backbone: BertBackbone,
        preprocessor: Any = None,
        head_options: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        self.backbone = backbone
        self.preprocessor = preprocessor
        self.head_options = head_options or None
        self.masked_lm_head = bert_masked_lm_head(backbone, **(head_options or {}))
        positions = keras.Input(shape=(None,), dtype="int32", name="mask_positions")
        encoded = backbone(backbone.input)["sequence_output"]
        super().__init__(
            inputs={**backbone.input, "mask_positions": positions},
            outputs=self.masked_lm_head(encoded, positions),
            **kwargs,
        )
