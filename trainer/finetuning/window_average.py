"""A classifier of texts in windows, from one of a single window."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


class WindowAverage(keras.Model):
    """Outputs float32[N, classes] of texts: the mean of what ``classifier`` gives for their windows.

    Inputs: ``classifier``'s, [N, W, L] each, and window_weights float32[N, W], which sum to 1.
    """

    def __init__(self, classifier: Any) -> None:
        super().__init__(name="window_average")
        self.classifier = classifier
        self.built = True

    def call(self, inputs: dict[str, Any], training: bool | None = None) -> Any:
        windows = ops.shape(inputs["token_ids"])[1]
        flat = {
            name: ops.reshape(values, (-1, *ops.shape(values)[2:]))
            for name, values in inputs.items()
            if name != "window_weights"
        }
        outputs = ops.cast(self.classifier(flat, training=training), "float32")
        outputs = ops.reshape(outputs, (-1, windows, outputs.shape[-1]))
        return ops.sum(outputs * ops.expand_dims(inputs["window_weights"], -1), axis=1)
