"""Base of text classification tasks: what they compile with by default."""

from __future__ import annotations

from typing import Any

import keras

from trainer.models.task import Task


class TextClassifier(Task):
    """Base class; ``TextClassifier.from_preset`` gives the preset's own kind."""

    activation: Any = None

    def compile(
        self,
        optimizer: Any = "auto",
        loss: Any = "auto",
        *,
        metrics: Any = "auto",
        **kwargs: Any,
    ) -> None:
        """``keras.Model.compile``; "auto" is Adam at 5e-5, sparse cross-entropy and accuracy."""
        if optimizer == "auto":
            optimizer = keras.optimizers.Adam(5e-5)
        if loss == "auto":
            from_logits = keras.activations.get(self.activation) != keras.activations.softmax
            loss = keras.losses.SparseCategoricalCrossentropy(from_logits=from_logits)
        if metrics == "auto":
            metrics = [keras.metrics.SparseCategoricalAccuracy()]
        super().compile(optimizer=optimizer, loss=loss, metrics=metrics, **kwargs)


Classifier = TextClassifier
