"""Adversarial training: each text also counts with its embedded tokens moved where the loss rises most.

Against small data learned by heart (Miyato, Dai and Goodfellow 2017, "Adversarial training methods for
semi-supervised text classification"). Written for JAX: Keras' own training steps of other backends do
not give the gradient of the inputs.

Shapes: N texts of a batch; L tokens of a text, or W windows of L; H the width of the model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from trainer.finetuning.in_parts import with_known_gradients


def adversarial_loss(
    loss_at: Callable[..., Any], weights: Sequence[Any], no_shift: Any, length: float
) -> Any:
    """(loss, rest) on shifts of ``length`` beside none; the rest is that without a shift.

    ``loss_at(weights, shift)`` gives (loss, rest); a shift, float[N, …, L, H] as ``no_shift`` is, is
    added to the embedded tokens. Of each text it has the direction of the loss' gradient and, over all
    its tokens, the Euclidean norm ``length``; embeddings are normalised, so one token's is about √H.
    """
    import jax
    import jax.numpy as jnp

    fixed = jax.lax.stop_gradient(list(weights))
    both = jax.value_and_grad(loss_at, argnums=(0, 1), has_aux=True)
    (loss, rest), (by_weights, by_shift) = both(fixed, no_shift)
    squares = jnp.sum(jnp.square(by_shift), tuple(range(1, by_shift.ndim)), keepdims=True)
    # Texts that fill a batch up have no gradient.
    shift = length * by_shift * jax.lax.rsqrt(jnp.maximum(squares, 1e-30))
    return with_known_gradients(loss, by_weights, weights) + loss_at(weights, shift)[0], rest
