"""Numbers are learned as standard deviations from their mean, and given in their own unit.

A new layer begins near 0, and small steps would take long to bring it to labels of some thousands. It is
linear, so its weights take the unit back in when training is over: whoever loads them needs not know.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class LabelScale:
    """The unit of labels in training: ``deviation`` of theirs, counted from ``mean``."""

    mean: float = 0.0
    deviation: float = 1.0

    @staticmethod
    def of(labels: NDArray[np.float32]) -> LabelScale:
        """The scale in which these have mean 0 and deviation 1; equal ones only get mean 0."""
        wide = labels.astype(np.float64)
        return LabelScale(float(wide.mean()), float(wide.std()) or 1.0)

    def shrink(self, labels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Labels as they are learned."""
        return ((labels.astype(np.float64) - self.mean) / self.deviation).astype(np.float32)

    def restore(self, outputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Outputs of the model in training in the unit of the labels."""
        return (outputs.astype(np.float64) * self.deviation + self.mean).astype(np.float32)

    def restore_weights(self, classifier: Any, weights: list[NDArray[Any]]) -> list[NDArray[Any]]:
        """Weights with which the classifier gives the unit of the labels itself."""
        layer = classifier.output_dense
        changed = list(weights)
        for i, variable in enumerate(classifier.weights):
            if variable is layer.kernel:
                changed[i] = (weights[i] * self.deviation).astype(weights[i].dtype)
            elif variable is layer.bias:
                changed[i] = self.restore(weights[i])
        return changed
