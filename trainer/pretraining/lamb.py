"""LAMB as in its paper: layer-wise adaptive moments for very large batches.

You et al. 2019, "Large Batch Optimization for Deep Learning", algorithm 2. Unlike Keras' own Lamb,
weight decay is part of the update that the trust ratio scales, and variables without weight decay
(biases, normalisation) are updated without a trust ratio, as in the authors' BERT runs.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="bertmill")
class PaperLamb(keras.optimizers.Lamb):
    """``keras.optimizers.Lamb`` with decoupled weight decay inside the trust ratio."""

    def _apply_weight_decay(self, variables: Any) -> None:
        """Nothing: ``update_step`` decays."""

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """One update of one variable."""
        index = self._get_variable_index(variable)
        mean, square = self._momentums[index], self._velocities[index]
        gradient = ops.cast(gradient, variable.dtype)
        rate = ops.cast(learning_rate, variable.dtype)
        number = ops.cast(self.iterations + 1, variable.dtype)
        self.assign_add(mean, (gradient - mean) * (1 - self.beta_1))
        self.assign_add(square, (ops.square(gradient) - square) * (1 - self.beta_2))
        corrected_mean = mean / (1 - ops.power(ops.cast(self.beta_1, variable.dtype), number))
        corrected_square = square / (1 - ops.power(ops.cast(self.beta_2, variable.dtype), number))
        update = corrected_mean / (ops.sqrt(corrected_square) + self.epsilon)
        if self.weight_decay and self._use_weight_decay(variable):
            update = update + self.weight_decay * variable
            weight_norm = ops.sqrt(ops.sum(ops.square(variable)))
            update_norm = ops.sqrt(ops.sum(ops.square(update)))
            positive = ops.logical_and(weight_norm > 0, update_norm > 0)
            divisor = ops.where(positive, update_norm, ops.ones_like(update_norm))
            update = ops.where(positive, weight_norm / divisor, 1.0) * update
        self.assign_sub(variable, rate * update)
