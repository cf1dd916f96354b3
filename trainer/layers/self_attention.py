"""Multi-head self-attention that takes a fused kernel whenever nothing forbids it.

Keras leaves the fused path as soon as a dropout rate is set, also when not training. Here only
training with dropout on the probabilities makes them explicit, and does not keep them for the
gradient where they are large; all else is ``attention.attend``. Variables and attribute names are
those of ``keras.layers.MultiHeadAttention``.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import keras

from trainer.layers.attention import attend, attend_explicitly, dense_mask
from trainer.layers.dropout import Dropout, drop_on_jax
from trainer.layers.products import project

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
        key_ids: Any = None,
        query_ids: Any = None,
    ) -> Any:
        """query: float[batch, queries, hidden], value: float[batch, keys, hidden]; as Keras' own.

        A mask, ids (see ``attention.attend``), or both say which keys a query sees.
        """
        query = project(self._query_dense, query)
        key = project(self._key_dense, value)
        value = project(self._value_dense, value)
        visible = {"mask": attention_mask, "key_ids": key_ids, "query_ids": query_ids}
        scores = None
        if return_attention_scores:
            mask = dense_mask(**visible)
            mixed, scores = self._compute_attention(query, key, value, mask, training, True)
        elif training and self._dropout > 0:
            mixed = self._attend_with_dropout(query, key, value, dense_mask(**visible))
        else:
            mixed = attend(query, key, value, scale=self._inverse_sqrt_key_dim, **visible)
        mixed = project(self._output_dense, mixed)
        return (mixed, scores) if return_attention_scores else mixed

    def _attend_with_dropout(self, query: Any, key: Any, value: Any, mask: Any) -> Any:
        shape = (query.shape[0], query.shape[2], query.shape[1], key.shape[1])
        if keras.backend.backend() != "jax" or not _fills_memory(shape, query.dtype):
            drop = functools.partial(self._dropout_layer, training=True)
            return attend_explicitly(query, key, value, mask, self._inverse_sqrt_key_dim, drop)
        import jax

        # Drawn here: a recomputed function must not change the generator's state.
        seed, rate = self._dropout_layer.seed_generator.next(), float(self._dropout)

        @jax.checkpoint
        def attend_again(query: Any, key: Any, value: Any) -> Any:
            return attend_explicitly(
                query,
                key,
                value,
                mask,
                self._inverse_sqrt_key_dim,
                lambda probabilities: drop_on_jax(probabilities, seed, rate),
            )

        return attend_again(query, key, value)


def _fills_memory(shape: tuple[int | None, ...], dtype: Any) -> bool:
    """Whether one layer's probabilities are so large that all layers' should not be kept."""
    if None in shape:
        return False
    bytes_each = 2 if "16" in keras.backend.standardize_dtype(dtype) else 4
    return math.prod(size or 1 for size in shape) * bytes_each > _KEPT_BYTES
