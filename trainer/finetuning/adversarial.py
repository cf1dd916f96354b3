"""Adversarial training: each text also counts with its embedded tokens moved where the loss rises most.

Against small data learned by heart (Miyato, Dai and Goodfellow 2017, "Adversarial training methods for
semi-supervised text classification"). Written for JAX: Keras' own training steps of other backends do
not give the gradient of the inputs.

Shapes: N texts of a batch; L tokens of a text, or W windows of L; H the width of the model.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


class AdversarialModel(keras.Model):
    """``model``, which takes ``shift`` too, trained on shifts of ``length`` beside none.

    ``shift`` float[N, …, L, H] is added to the embedded tokens. Of each text it has the direction of the
    loss' gradient and, over all its tokens, the Euclidean norm ``length``; embeddings are normalised,
    so one token's norm is about √H. The loss that is reported is the one without.
    """

    def __init__(self, model: Any, hidden_dim: int, length: float) -> None:
        super().__init__(name="adversarial")
        self.model, self._hidden_dim, self._length = model, hidden_dim, length
        self.built = True

    def call(self, inputs: dict[str, Any], training: bool | None = None) -> Any:
        if "shift" not in inputs:
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
        """The sum of both losses; all else of the loss without a shift. Keras calls it in a step."""
        import jax
        import jax.numpy as jnp

        def loss_at(weights: Any, shift: Any) -> Any:
            variables = (weights, non_trainable_variables, metrics_variables)
            inputs = {**x, "shift": shift}
            return super(AdversarialModel, self).compute_loss_and_updates(
                *variables, inputs, y, sample_weight, **options
            )

        fixed = jax.lax.stop_gradient(list(trainable_variables))
        both = jax.value_and_grad(loss_at, argnums=(0, 1), has_aux=True)
        (loss, updates), (by_weights, by_shift) = both(fixed, self._no_shift(x))
        squares = jnp.sum(jnp.square(by_shift), tuple(range(1, by_shift.ndim)), keepdims=True)
        # Texts that fill a batch up have no gradient.
        shift = self._length * by_shift * jax.lax.rsqrt(jnp.maximum(squares, 1e-30))
        # 0, with the gradient of the loss without a shift, so that this is not computed twice.
        gradient_alone = sum(
            jnp.vdot(gradient, weight - before)
            for gradient, weight, before in zip(by_weights, trainable_variables, fixed, strict=True)
        )
        return loss + gradient_alone + loss_at(trainable_variables, shift)[0], updates
