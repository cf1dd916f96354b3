"""A batch learned from part by part: on CPUs, what a part needs stays in the caches, and is not taken
from the system anew in every step.

The gradient is the whole batch's, added up in another order. Written for JAX.

Shapes: N rows of a batch, P parts of N / P rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any


def loss_in_parts(
    loss_of: Callable[..., Any], weights: Sequence[Any], state: Any, batch: Any, parts: int
) -> tuple[Any, tuple[Any, Any, Any]]:
    """(loss, (reported, outputs, state)) of a batch; the loss' gradient by ``weights`` is there already.

    ``loss_of(weights, state, part)`` gives the same of a part: means over its rows, outputs [N / P, …],
    and the state for the next part.
    """
    import jax
    import jax.numpy as jnp

    fixed = jax.lax.stop_gradient(list(weights))
    loss_and_gradients = jax.value_and_grad(loss_of, has_aux=True)

    def add_part(total: Any, part: Any) -> tuple[Any, Any]:
        sums, state = total
        (loss, (reported, outputs, state)), gradients = loss_and_gradients(fixed, state, part)
        return (jax.tree.map(jnp.add, sums, (loss, reported, gradients)), state), outputs

    zero = jnp.zeros((), jnp.float32)
    start = zero, zero, [jnp.zeros_like(weight) for weight in fixed]
    split = jax.tree.map(lambda values: values.reshape(parts, -1, *values.shape[1:]), batch)
    (sums, state), outputs = jax.lax.scan(add_part, (start, state), split)
    loss, reported, gradients = jax.tree.map(lambda values: values / parts, sums)
    outputs = outputs.reshape(-1, *outputs.shape[2:])
    return with_known_gradients(loss, gradients, weights), (reported, outputs, state)


def with_known_gradients(value: Any, gradients: Sequence[Any], weights: Sequence[Any]) -> Any:
    """``value`` with these gradients by ``weights``, which are not computed again."""
    import jax
    import jax.numpy as jnp

    @jax.custom_vjp
    def known(value: Any, gradients: Any, weights: Any) -> Any:
        return value

    def backward(gradients: Any, by_value: Any) -> tuple[Any, Any, Any]:
        none = jax.tree.map(jnp.zeros_like, gradients)
        return by_value, none, [by_value * gradient for gradient in gradients]

    known.defvjp(lambda value, gradients, weights: (value, gradients), backward)
    return known(value, list(gradients), list(weights))
