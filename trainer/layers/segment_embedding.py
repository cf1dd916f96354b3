"""Embedding of a handful of ids as a matrix product instead of a lookup.

The gradient of a lookup adds every position's vector to one of two rows, a contended scatter that
runs serially; the same sum as a matrix product is parallel. The class is named ``Embedding`` because
Keras' weight files name entries after the class, and theirs holds an ``Embedding`` here.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from trainer.layers.check_ids import check_ids
from trainer.layers.products import einsum


@keras.saving.register_keras_serializable(package="bertmill", name="SegmentEmbedding")
class Embedding(keras.layers.Embedding):
    """``keras.layers.Embedding`` for few ids: int[batch, sequence] -> [batch, sequence, features]."""

    def call(self, inputs: Any) -> Any:
        check_ids(inputs, self.input_dim, "segment_ids")
        if self.input_dim > 16:
            return super().call(inputs)
        one_hot = ops.one_hot(inputs, self.input_dim, dtype=self.compute_dtype)
        return einsum("bsi,if->bsf", one_hot, ops.cast(self.embeddings, self.compute_dtype))
