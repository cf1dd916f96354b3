"""BERT for classifying texts or pairs of texts, as a task with KerasNLP's interface."""

from __future__ import annotations

from typing import Any

import keras

from trainer.layers.dropout import Dropout
from trainer.models.bert_backbone import BertBackbone, bert_kernel_initializer
from trainer.models.bert_text_classifier_preprocessor import BertTextClassifierPreprocessor
from trainer.models.task import Task


class TextClassifier(Task):
    """Base class; ``TextClassifier.from_preset`` gives the preset's own kind."""

    def compile(
        self, optimizer: Any = "auto", loss: Any = "auto", *, metrics: Any = "auto", **kwargs: Any
    ) -> None:
        """As ``Task.compile``."""
        super().compile(optimizer, loss, metrics=metrics, **kwargs)


@keras.saving.register_keras_serializable(package="bertmill")
class BertTextClassifier(TextClassifier):
    """A dense layer over the backbone's pooled output.

    Args:
        backbone: a ``BertBackbone``.
        num_classes: width of the output.
        preprocessor: a ``BertTextClassifierPreprocessor``, or None where inputs are preprocessed.
        activation: of the output: None for logits, "softmax" for probabilities.
        dropout: rate before the dense layer.
    """

    preprocessor_cls = BertTextClassifierPreprocessor

    def __init__(
        self,
        backbone: BertBackbone,
        num_classes: int,
        preprocessor: Any = None,
        activation: Any = None,
        dropout: float = 0.1,
        **kwargs: Any,
    ) -> None:
        self.backbone = backbone
        self.preprocessor = preprocessor
        self.num_classes = num_classes
        self.activation = keras.activations.get(activation)
        self.dropout = dropout
        dtype = backbone.dtype_policy
        self.output_dropout = Dropout(dropout, dtype=dtype, name="classifier_dropout")
        self.output_dense = keras.layers.Dense(
            num_classes,
            kernel_initializer=bert_kernel_initializer(),
            activation=activation,
            dtype=dtype,
            name="logits",
        )
        pooled = backbone(backbone.input)["pooled_output"]
        outputs = self.output_dense(self.output_dropout(pooled))
        super().__init__(inputs=backbone.input, outputs=outputs, **kwargs)


Classifier = TextClassifier
BertClassifier = BertTextClassifier
