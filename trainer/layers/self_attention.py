"""Multi-head self-attention that takes the backend's fused kernel whenever nothing forbids it.

Keras leaves the fused path as soon as a dropout rate is set, also when not training. Here only
training with dropout, and JAX on a CPU, where our products are faster, compute explicit
probabilities, which dropout does not keep for the gradient where they are large; everything else
goes through ``ops.dot_product_attention`` (cuDNN flash attention on
GPU, splash on TPU).
Variables and attribute names are those of ``keras.layers.MultiHeadAttention``.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from trainer.layers.dropout import Dropout, drop_on_jax
from trainer.layers.products import einsum, is_jax_on_cpu, project

# Larger probabilities of one layer (a BERT-base on 32 rows of 512: 400 MB) are computed twice.
_KEPT_BYTES = 1 << 28


@keras.saving.register_keras_serializable(package="bertmill")
class SelfAttention(keras.layers.MultiHeadAttention):
    """``keras.layers.MultiHeadAttention``, faster; shapes as there."""

    def _build_attention(self, rank: int) -> None:
        super()._build_attention(rank)
        # Same class name and state as the layer it replaces, cheaper random bits.
        self._dropout_layer: Any = Dropout(self._dropout, dtype=self.dtype_policy, seed=self.seed)

    def call(
        self,
        query: Any,
        value: Any,
        attention_mask: Any = None,
        training: bool | None = None,
        return_attention_scores: bool = False,
    ) -> Any:
        """query: float[batch, queries, hidden], value: float[batch, keys, hidden]; as Keras' own."""
        mixed, scores = self._compute_attention(
            project(self._query_dense, query),
            project(self._key_dense, value),
            project(self._value_dense, value),
            attention_mask,
            training,
            return_attention_scores,
        )
        mixed = project(self._output_dense, mixed)
        return (mixed, scores) if return_attention_scores else mixed

    def _compute_attention(
        self,
        query: Any,
        key: Any,
        value: Any,
        attention_mask: Any = None,
        training: bool | None = None,
        return_attention_scores: bool = False,
        **kwargs: Any,
    ) -> tuple[Any, Any]:
        """query, key, value: [batch, sequence, heads, head_dim]; mask: [batch, 1 or query, key]."""
        if return_attention_scores or kwargs or len(query.shape) != 4:
            return super()._compute_attention(
                query, key, value, attention_mask, training, return_attention_scores, **kwargs
            )
        mask = None
        if attention_mask is not None:
            mask = ops.expand_dims(ops.cast(attention_mask, "bool"), axis=1)
        drops = bool(training and self._dropout > 0)
        if not drops and not is_jax_on_cpu():
            return ops.dot_product_attention(
                query, key, value, mask=mask, scale=self._inverse_sqrt_key_dim
            ), None
        # [batch, heads, query, key]
        shape = (query.shape[0], query.shape[2], query.shape[1], key.shape[1])
        scale = self._inverse_sqrt_key_dim
        if drops and keras.backend.backend() == "jax" and _fills_memory(shape, query.dtype):
            # Drawn here: a recomputed function must not change the generator's state.
            seed = self._dropout_layer.seed_generator.next()
            rate = float(self._dropout)
            return _attend_twice()(query, key, value, mask, seed, rate, scale), None
        return _attend(
            query, key, value, mask, scale, lambda p: self._dropout_layer(p, training=drops)
        ), None


def _attend(
    query: Any, key: Any, value: Any, mask: Any, scale: float, drop: Callable[[Any], Any]
) -> Any:
    """Attention with explicit probabilities, which ``drop`` is applied to."""
    query = query * ops.cast(scale, query.dtype)
    scores = einsum("bqhd,bkhd->bhqk", query, key)
    if mask is not None:
        lowest = -3e4 if keras.backend.standardize_dtype(scores.dtype) == "float16" else -1e9
        scores = ops.where(mask, scores, ops.cast(lowest, scores.dtype))
    return einsum("bkhd,bhqk->bqhd", value, drop(ops.softmax(scores, axis=-1)))


def _fills_memory(shape: tuple[int | None, ...], dtype: Any) -> bool:
    """Whether one layer's probabilities are so large that all layers' should not be kept."""
    if None in shape:
        return False
    bytes_each = 2 if "16" in keras.backend.standardize_dtype(dtype) else 4
    return math.prod(size or 1 for size in shape) * bytes_each > _KEPT_BYTES


@functools.cache
def _attend_twice() -> Any:
    """``_attend`` on JAX, computed again for the gradient: only its inputs are kept till then."""
    import jax

    def attend(
        query: Any, key: Any, value: Any, mask: Any, seed: Any, rate: float, scale: float
    ) -> Any:
        return _attend(query, key, value, mask, scale, lambda p: drop_on_jax()(p, seed, rate))

    return jax.checkpoint(attend, static_argnums=(5, 6))
