"""Multi-head self-attention that takes the backend's fused kernel whenever nothing forbids it.

Keras leaves the fused path as soon as a dropout rate is set, also when not training. Here only
training with dropout computes explicit probabilities; everything else goes through
``ops.dot_product_attention`` (cuDNN flash attention on GPU, splash on TPU).
Variables and attribute names are those of ``keras.layers.MultiHeadAttention``.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from trainer.layers.dropout import Dropout


@keras.saving.register_keras_serializable(package="bertmill")
class SelfAttention(keras.layers.MultiHeadAttention):
    """``keras.layers.MultiHeadAttention``, faster; shapes as there."""

    def _build_attention(self, rank: int) -> None:
        super()._build_attention(rank)
        # Same class name and state as the layer it replaces, cheaper random bits.
        self._dropout_layer: Any = Dropout(self._dropout, dtype=self.dtype_policy, seed=self.seed)

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
        if not (training and self._dropout > 0):
            return ops.dot_product_attention(
                query, key, value, mask=mask, scale=self._inverse_sqrt_key_dim
            ), None
        query = query * ops.cast(self._inverse_sqrt_key_dim, query.dtype)
        # [batch, heads, query, key]
        scores = ops.matmul(ops.transpose(query, (0, 2, 1, 3)), ops.transpose(key, (0, 2, 3, 1)))
        if mask is not None:
            lowest = -3e4 if keras.backend.standardize_dtype(scores.dtype) == "float16" else -1e9
            scores = ops.where(mask, scores, ops.cast(lowest, scores.dtype))
        probabilities = self._dropout_layer(ops.softmax(scores, axis=-1), training=training)
        mixed = ops.matmul(probabilities, ops.transpose(value, (0, 2, 1, 3)))
        return ops.transpose(mixed, (0, 2, 1, 3)), None
