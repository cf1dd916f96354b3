"""Base of masked-LM tasks: what they compile with by default."""

from __future__ import annotations

from typing import Any

import keras

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
        """``keras.Model.compile``; "auto" is Adam at 5e-5, sparse cross-entropy and accuracy."""
        if optimizer == "auto":
            optimizer = keras.optimizers.Adam(5e-5)
        if loss == "auto":
            loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        if weighted_metrics == "auto":
            weighted_metrics = [keras.metrics.SparseCategoricalAccuracy()]
        super().compile(optimizer=optimizer, loss=loss, weighted_metrics=weighted_metrics, **kwargs)
