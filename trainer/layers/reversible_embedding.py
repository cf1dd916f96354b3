"""An embedding table that also projects back: ids -> vectors, and vectors -> logits over ids.

The tied weights are what BERT's masked-LM head uses. Name, arguments and saved variables are
KerasNLP's ``ReversibleEmbedding``.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="bertmill")
class ReversibleEmbedding(keras.layers.Embedding):
    """``keras.layers.Embedding`` with ``reverse=True`` giving ``inputs @ embeddings.T``.

    Args:
        input_dim: number of ids.
        output_dim: width of a vector.
        tie_weights: whether the reverse projection uses the same table.
        embeddings_initializer, embeddings_regularizer, embeddings_constraint, mask_zero: as in
            ``keras.layers.Embedding``.
        reverse_dtype: dtype of the reverse projection; the layer's compute dtype where None.
        logit_soft_cap: where given, reversed outputs become ``cap * tanh(logits / cap)``.
    """

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        tie_weights: bool = True,
        embeddings_initializer: Any = "uniform",
        embeddings_regularizer: Any = None,
        embeddings_constraint: Any = None,
        mask_zero: bool = False,
        reverse_dtype: str | None = None,
        logit_soft_cap: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            input_dim,
            output_dim,
            embeddings_initializer=embeddings_initializer,
            embeddings_regularizer=embeddings_regularizer,
            embeddings_constraint=embeddings_constraint,
            mask_zero=mask_zero,
            **kwargs,
        )
        self.tie_weights = tie_weights
        self.reverse_dtype = reverse_dtype
        self.logit_soft_cap = logit_soft_cap

    def build(self, input_shape: Any = None) -> None:
        super().build(input_shape)
        if not self.tie_weights:
            self.reverse_embeddings = self.add_weight(
                name="reverse_embeddings",
                shape=(self.output_dim, self.input_dim),
                initializer=self.embeddings_initializer,
            )

    def call(self, inputs: Any, reverse: bool = False) -> Any:
        """int[..., n] -> float[..., n, output_dim]; reversed float[..., output_dim] -> [..., ids]."""
        if not reverse:
            return super().call(inputs)
        kernel = ops.transpose(self.embeddings) if self.tie_weights else self.reverse_embeddings
        dtype = self.reverse_dtype or self.compute_dtype
        logits = ops.matmul(ops.cast(inputs, dtype), ops.cast(kernel, dtype))
        if self.logit_soft_cap is not None:
            logits = ops.tanh(logits / self.logit_soft_cap) * self.logit_soft_cap
        return logits

    def compute_mask(self, inputs: Any, mask: Any = None, reverse: bool = False) -> Any:
        return None if reverse or not self.mask_zero else super().compute_mask(inputs, mask)

    def compute_output_spec(self, inputs: Any, reverse: bool = False) -> Any:
        last = self.input_dim if reverse else self.output_dim
        shape = tuple(inputs.shape)
        return keras.KerasTensor(
            (*(shape[:-1] if reverse else shape), last), dtype=self.compute_dtype
        )

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "tie_weights": self.tie_weights,
            "reverse_dtype": self.reverse_dtype,
            "logit_soft_cap": self.logit_soft_cap,
        }
