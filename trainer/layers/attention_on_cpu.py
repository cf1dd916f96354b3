"""Attention with explicit probabilities as XLA's CPU kernels are fast at it, with its gradient.

Scores stay in float32 from their product to the softmax, and the gradient through the softmax takes
one sum over the output's dimensions instead of one over all keys (Dao et al. 2022, "FlashAttention",
appendix B.2). The probabilities are kept for the gradient, in the inputs' dtype.

How much faster whole steps are: docs/benchmarks.md, "Pretraining".

Shapes: B rows, Q queries, K keys, H heads, D dimensions of a head; N = B * H.
"""

from __future__ import annotations

import functools
from typing import Any

from trainer.layers.products import product_of_batches


def attend_on_cpu(query: Any, key: Any, value: Any, mask: Any, scale: float) -> Any:
    """``mask``: bool[B, 1 or Q, K] or None; else as ``attention.attend``, on JAX."""
    return _attention()(query, key, value, mask, scale)


@functools.cache
def _attention() -> Any:
    """Builds the JAX function ``attend_on_cpu``, with its gradient."""
    import jax
    import jax.numpy as jnp

    def heads_first(x_BLHD: Any) -> Any:
        """[N, L, D]"""
        return x_BLHD.transpose(0, 2, 1, 3).reshape(-1, x_BLHD.shape[1], x_BLHD.shape[3])

    def dimensions_first(x_BLHD: Any) -> Any:
        """[N, D, L]"""
        return x_BLHD.transpose(0, 2, 3, 1).reshape(-1, x_BLHD.shape[3], x_BLHD.shape[1])

    def heads_back(x_NLD: Any, like_BLHD: Any) -> Any:
        x_BHLD = x_NLD.reshape(like_BLHD.shape[0], like_BLHD.shape[2], *x_NLD.shape[1:])
        return x_BHLD.transpose(0, 2, 1, 3).astype(like_BLHD.dtype)

    def dimensions_back(x_NDL: Any, like_BLHD: Any) -> Any:
        x_BHDL = x_NDL.reshape(like_BLHD.shape[0], like_BLHD.shape[2], *x_NDL.shape[1:])
        return x_BHDL.transpose(0, 3, 1, 2).astype(like_BLHD.dtype)

    def forward(query: Any, key: Any, value: Any, mask: Any, scale: float) -> tuple[Any, Any]:
        scores_NQK = scale * product_of_batches(heads_first(query), dimensions_first(key))
        if mask is not None:
            scores_NQK = jnp.where(jnp.repeat(mask, query.shape[2], axis=0), scores_NQK, -1e9)
        probabilities_NQK = jax.nn.softmax(scores_NQK, axis=-1).astype(query.dtype)
        out = heads_back(product_of_batches(probabilities_NQK, heads_first(value)), query)
        return out, (query, key, value, probabilities_NQK, out)

    def backward(scale: float, kept: Any, d_out: Any) -> tuple[Any, ...]:
        query, key, value, probabilities_NQK, out = kept
        # What the softmax subtracts from the gradient of each query's probabilities.
        shift_BQH = (d_out.astype(jnp.float32) * out.astype(jnp.float32)).sum(-1)
        shift_NQ1 = shift_BQH.transpose(0, 2, 1).reshape(-1, query.shape[1], 1)
        d_probabilities_NQK = product_of_batches(heads_first(d_out), dimensions_first(value))
        d_scores_NQK = scale * probabilities_NQK * (d_probabilities_NQK - shift_NQ1)
        d_scores_NQK = d_scores_NQK.astype(query.dtype)
        d_query = product_of_batches(d_scores_NQK, heads_first(key))
        # The smaller factor is transposed, see ``products``.
        d_key = product_of_batches(dimensions_first(query), d_scores_NQK)
        d_value = product_of_batches(dimensions_first(d_out), probabilities_NQK)
        return (
            heads_back(d_query, query),
            dimensions_back(d_key, key),
            dimensions_back(d_value, value),
            None,
        )

    @functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
    def attend(*arguments: Any) -> Any:
        return forward(*arguments)[0]

    attend.defvjp(forward, backward)
    return attend
