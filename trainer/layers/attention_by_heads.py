"""Attention one head after the other: what is fastest for long bfloat16 rows on a CPU.

XLA's CPU kernels compute products of batches of bfloat16 in float32. Plain products of two matrices
they give to the tile instructions (AMX), so here each row and head is by itself; and its [Q, K]
probabilities stay in the cache, as they are computed again for the gradient. With 4 heads of 64 and
rows of 512 it takes 3/5 of the time of explicit products, forwards and backwards, and a whole step of
4 layers is 1.13 times as fast; with rows of 256 a step was no faster (docs/benchmarks.md,
"Pretraining"). Shapes: as in ``attention``.
"""

from __future__ import annotations

import functools
from typing import Any

from trainer.layers.products import with_gradients

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
    to bfloat16, with its gradients."""
    import jax.numpy as jnp

    def multiply(equation: str, *factors: Any) -> Any:
        rounded = (factor.astype(jnp.bfloat16) for factor in factors)
        return jnp.einsum(equation, *rounded, preferred_element_type=jnp.float32)

    return with_gradients(multiply)
