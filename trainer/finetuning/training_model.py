"""A classifier as JAX trains it: batches in parts on CPUs, on shifted tokens too where asked."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from trainer.finetuning.adversarial import adversarial_loss
from trainer.finetuning.in_parts import loss_in_parts
from trainer.pretraining.batch_parts import parts_for_speed


class TrainingModel(keras.Model):
    """``model``, a ``reading_model``, with the loss of a step of its own.

    ``hidden_dim`` is the model's width. With ``shift_length`` it takes ``shift`` too, and the loss is
    that of ``adversarial_loss``; what is reported is the loss without a shift.
    """

    def __init__(self, model: Any, hidden_dim: int, shift_length: float) -> None:
        super().__init__(name="training_model")
        self.model, self._hidden_dim, self._shift_length = model, hidden_dim, shift_length
        self.built = True

    def call(self, inputs: dict[str, Any], training: bool | None = None) -> Any:
        if self._shift_length and "shift" not in inputs:
            inputs = {**inputs, "shift": self._no_shift(inputs)}
        return self.model(inputs, training=training)

    def _no_shift(self, inputs: dict[str, Any]) -> Any:
        return ops.zeros((*ops.shape(inputs["token_ids"]), self._hidden_dim), self.compute_dtype)

    def compute_loss_and_updates(
        self,
        trainable_variables: Any,
        non_trainable_variables: Any,
        metrics_variables: Any,
        x: Any,
        y: Any,
        sample_weight: Any,
        **options: Any,
    ) -> Any:
        """What to minimise, and (the loss to report, outputs, both kinds of other variables). Keras
        calls it in a step, for the gradient of the first."""
        step_loss = super().compute_loss_and_updates

        def loss_at(weights: Any, others: Any, x: Any, y: Any, sample_weight: Any) -> Any:
            loss, (reported, outputs, others, _) = step_loss(
                weights, others, metrics_variables, x, y, sample_weight, **options
            )
            return loss, (reported, outputs, others)

        def loss_of(weights: Any, others: Any, part: Any) -> Any:
            x, *targets = part
            if not self._shift_length:
                return loss_at(weights, others, x, *targets)
            return adversarial_loss(
                lambda weights, shift: loss_at(weights, others, {**x, "shift": shift}, *targets),
                weights,
                self._no_shift(x),
                self._shift_length,
            )

        ids = x["token_ids"]
        parts = parts_for_speed(ids.shape[0], ids.size, self._hidden_dim)
        arguments = trainable_variables, non_trainable_variables, (x, y, sample_weight)
        if parts > 1:
            loss, rest = loss_in_parts(loss_of, *arguments, parts)
        else:
            loss, rest = loss_of(*arguments)
        return loss, (*rest, metrics_variables)
