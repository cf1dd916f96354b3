"""Attention one head after the other: what is fastest for long bfloat16 rows on a CPU.

XLA's CPU kernels compute products of batches of bfloat16 in float32. Plain products of two matrices
they give to the tile instructions (AMX), so here each row and head is by itself; and its [Q, K]
probabilities stay in the cache, as they are computed again for the gradient. With 4 heads of 64 and
rows of 512 it takes 3/5 of the time of explicit products, forwards and backwards, and a whole step of 4
x 256 is 1.13 times as fast; with rows of 256 no step was (docs/benchmarks.md, "Pretraining"). Shapes: as
in ``attention``.
"""

from __future__ import annotations

import functools
from typing import Any

# So many pairs of a query and a key repay a loop over the heads.
_LEAST_PAIRS = 1 << 18


def heads_one_by_one_are_faster(query: Any, key: Any) -> bool:
    """On one CPU; several would send each other every row."""
    import jax

    if query.dtype != "bfloat16" or jax.device_count() > 1:
        return False
    return query.shape[1] * key.shape[1] >= _LEAST_PAIRS


def attend_by_heads(query: Any, key: Any, value: Any, mask: Any, scale: float) -> Any:
    """``mask``: bool[B, 1 or Q, K] or None; else as ``attention.attend``. Softmax is in float32."""
    import jax
    import jax.numpy as jnp

    multiply = _product()

    @jax.checkpoint
    def attend_head(query: Any, key: Any, value: Any, mask: Any) -> Any:
        scores = multiply("qd,kd->qk", query, key) * scale
        if mask is not None:
            scores = jnp.where(mask, scores, -1e9)
        return multiply("qk,kd->qd", jax.nn.softmax(scores, axis=-1), value).astype(query.dtype)

    def attend_row(row: Any) -> Any:
        *heads, mask = row
        return jax.lax.map(lambda head: attend_head(*head, mask), heads)

    query, key, value = (x.transpose(0, 2, 1, 3) for x in (query, key, value))
    return jax.lax.map(attend_row, (query, key, value, mask)).transpose(0, 2, 1, 3)


@functools.cache
def _product() -> Any:
    """Builds the JAX function ``(equation, left, right) -> float32 product`` of two matrices rounded
    to bfloat16, whose gradients are such products too."""
    import jax
    import jax.numpy as jnp

    def multiply(equation: str, *factors: Any) -> Any:
        rounded = (factor.astype(jnp.bfloat16) for factor in factors)
        return jnp.einsum(equation, *rounded, preferred_element_type=jnp.float32)

    @functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
    def product(equation: str, left: Any, right: Any) -> Any:
        return multiply(equation, left, right)

    def forward(equation: str, left: Any, right: Any) -> tuple[Any, Any]:
        return multiply(equation, left, right), (left, right)

    def backward(equation: str, kept: Any, gradient: Any) -> tuple[Any, Any]:
        left, right = kept
        first, second, output = equation.replace("->", ",").split(",")
        of_left = multiply(f"{output},{second}->{first}", gradient, right)
        of_right = multiply(f"{output},{first}->{second}", gradient, left)
        return of_left.astype(left.dtype), of_right.astype(right.dtype)

    product.defvjp(forward, backward)
    return product
