"""Layers that are computed again for the backward pass, so that only inputs are kept (JAX only).

Chen et al. 2016, "Training deep nets with sublinear memory cost". Keras' ``RematScope`` passes
``training`` to JAX as if it were an array, and XLA schedules the second pass of ``jax.checkpoint`` on
CPUs before it is needed, so that nothing is saved. Dropout draws the same bits again: they are a
function of its state.
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
    """``x``, available only after ``gradient``, so that nothing is computed from it early."""
    import jax
    import jax.numpy as jnp

    x, gradient = jax.lax.optimization_barrier((x, gradient))
    if jax.default_backend() == "cpu":
        # XLA forgets barriers on CPUs before it decides the order.
        x = jnp.where(jnp.isfinite(gradient[(0,) * gradient.ndim]), x, jnp.nan)
    return x
