"""Layers whose inside is computed again for the backward pass instead of being kept (JAX only).

Chen et al. 2016, "Training deep nets with sublinear memory cost": with a checkpoint at each layer
only the layers' inputs stay in memory, for one more forward pass. Done here rather than by Keras'
``RematScope``, which hands ``training`` to JAX as if it were an array, or ``jax.checkpoint``, whose
second pass XLA schedules on CPUs before it is needed, so that nothing is saved. Dropout draws the
same bits again: they are a function of its state.
"""

from __future__ import annotations

from typing import Any


def call_rematerialized(layer: Any, x: Any, *, training: bool | None, **arrays: Any) -> Any:
    """``layer(x, training=training, **arrays)``, remembering only ``x`` and the arrays (or None)."""
    import jax

    def call(x: Any) -> Any:
        return layer(x, training=training, **arrays)

    # The layer's weights become arguments, so that they get their gradients.
    run, weights = jax.closure_convert(call, x)

    @jax.custom_vjp
    def remembered(x: Any, weights: Any) -> Any:
        return run(x, *weights)

    def forward(x: Any, weights: Any) -> Any:
        return run(x, *weights), (x, weights)

    def backward(kept: Any, gradient: Any) -> Any:
        x, weights = kept
        _, pull_back = jax.vjp(lambda x, weights: run(x, *weights), _after(x, gradient), weights)
        return pull_back(gradient)

    remembered.defvjp(forward, backward)
    return remembered(x, weights)


def _after(x: Any, gradient: Any) -> Any:
    """``x``, but not to be had before ``gradient``: what follows from it cannot be computed early."""
    import jax
    import jax.numpy as jnp

    x, gradient = jax.lax.optimization_barrier((x, gradient))
    if jax.default_backend() == "cpu":
        # XLA forgets barriers on CPUs before it decides the order.
        x = jnp.where(jnp.isfinite(gradient[(0,) * gradient.ndim]), x, jnp.nan)
    return x
