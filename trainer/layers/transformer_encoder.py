"""One Transformer encoder block: self-attention, then a feed-forward network, each with a residual.

Source: Vaswani et al. 2017, section 3.1; BERT normalises after each residual (post-norm). Arguments,
sub-layer names and variables are KerasNLP's ``TransformerEncoder``, so its weights load here.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops
from keras.src.backend import get_keras_mask

from trainer.layers.constructor_arguments import ConstructorArguments
from trainer.layers.dropout import Dropout
from trainer.layers.head_size import head_size
from trainer.layers.products import project
from trainer.layers.self_attention import SelfAttention


@keras.saving.register_keras_serializable(package="bertmill")
class TransformerEncoder(ConstructorArguments, keras.layers.Layer):
    """An encoder block over float[batch, sequence, hidden].

    Args:
        intermediate_dim: width of the feed-forward network.
        num_heads: number of attention heads; hidden must be a multiple.
        dropout: rate for attention probabilities and both outputs.
        attention_dropout: rate for attention probabilities, if not ``dropout``. On TPUs and GPUs
            only 0 lets training use the fused kernels, which never hold the probabilities.
        activation: of the feed-forward network.
        layer_norm_epsilon: added to the variance in both normalisations.
        kernel_initializer, bias_initializer: of all dense layers.
        normalize_first: normalise before each sub-layer instead of after each residual.
    """

    def __init__(
        self,
        intermediate_dim: int,
        num_heads: int,
        dropout: float = 0,
        activation: Any = "relu",
        layer_norm_epsilon: float = 1e-05,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        normalize_first: bool = False,
        attention_dropout: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.intermediate_dim = intermediate_dim
        self.num_heads = num_heads
        self.dropout = dropout
        self.attention_dropout = attention_dropout
        self.activation = keras.activations.get(activation)
        self.layer_norm_epsilon = layer_norm_epsilon
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self.normalize_first = normalize_first
        self.supports_masking = True

    def build(self, inputs_shape: Any) -> None:
        hidden_dim = inputs_shape[-1]
        self._self_attention_layer = SelfAttention(
            num_heads=self.num_heads,
            key_dim=head_size(hidden_dim, self.num_heads),
            dropout=self.dropout if self.attention_dropout is None else self.attention_dropout,
            dtype=self.dtype_policy,
            name="self_attention_layer",
            **self._fresh_initializers(),
        )
        self._self_attention_layer.build(query_shape=inputs_shape, value_shape=inputs_shape)
        self._self_attention_layer_norm = self._layer_norm("self_attention", inputs_shape)
        self._self_attention_dropout = self._dropout("self_attention")
        self._feedforward_layer_norm = self._layer_norm("feedforward", inputs_shape)
        self._feedforward_intermediate_dense = self._dense(
            "feedforward_intermediate", inputs_shape, self.intermediate_dim, self.activation
        )
        self._feedforward_output_dense = self._dense(
            "feedforward_output", (*inputs_shape[:-1], self.intermediate_dim), hidden_dim
        )
        self._feedforward_dropout = self._dropout("feedforward")
        self.built = True

    def _layer_norm(self, part: str, shape: Any) -> keras.layers.LayerNormalization:
        layer = keras.layers.LayerNormalization(
            epsilon=self.layer_norm_epsilon, dtype=self.dtype_policy, name=f"{part}_layer_norm"
        )
        layer.build(shape)
        return layer

    def _dropout(self, part: str) -> Dropout:
        return Dropout(self.dropout, dtype=self.dtype_policy, name=f"{part}_dropout")

    def _dense(self, part: str, shape: Any, units: int, activation: Any = None) -> Any:
        layer = keras.layers.Dense(
            units,
            activation=activation,
            dtype=self.dtype_policy,
            name=f"{part}_dense",
            **self._fresh_initializers(),
        )
        layer.build(shape)
        return layer

    def _fresh_initializers(self) -> dict[str, Any]:
        """Copies, because an unseeded Keras initializer gives the same values each time it is used."""
        kernel, bias = self.kernel_initializer.clone(), self.bias_initializer.clone()
        return {"kernel_initializer": kernel, "bias_initializer": bias}

    def call(
        self,
        inputs: Any,
        padding_mask: Any = None,
        attention_mask: Any = None,
        training: bool | None = None,
        return_attention_scores: bool = False,
        positions: Any = None,
        document_ids: Any = None,
    ) -> Any:
        """Encodes float[batch, sequence, hidden].

        ``padding_mask`` [batch, sequence] and ``attention_mask`` [batch, sequence, sequence] are
        nonzero where attention is allowed; both together allow what both allow. ``document_ids``
        int[batch, sequence], instead of a padding mask, keeps attention inside each document. Returns
        the same shape, and the scores [batch, heads, sequence, sequence] too if asked. With
        ``positions`` int[batch, selected] only those are encoded, into [batch, selected, hidden];
        they still attend to all.
        """
        key_ids = _key_ids(inputs, padding_mask, document_ids)
        if attention_mask is not None and len(attention_mask.shape) != 3:
            raise ValueError(
                f"attention_mask must be [batch, sequence, sequence], not {attention_mask.shape}"
            )
        residual = inputs
        x = self._self_attention_layer_norm(inputs) if self.normalize_first else inputs
        query, query_ids = x, document_ids
        if positions is not None:
            selected = ops.expand_dims(positions, axis=-1)
            residual = ops.take_along_axis(inputs, selected, axis=1)
            query = ops.take_along_axis(x, selected, axis=1) if self.normalize_first else residual
            if attention_mask is not None:
                attention_mask = ops.take_along_axis(attention_mask, selected, axis=1)
            if query_ids is not None:
                query_ids = ops.take_along_axis(query_ids, positions, axis=1)
        x = self._self_attention_layer(
            query=query,
            value=x,
            attention_mask=attention_mask,
            training=training,
            return_attention_scores=return_attention_scores,
            key_ids=key_ids,
            query_ids=query_ids,
        )
        x, scores = x if return_attention_scores else (x, None)
        x = self._self_attention_dropout(x, training=training) + residual
        if not self.normalize_first:
            x = self._self_attention_layer_norm(x)

        residual = x
        if self.normalize_first:
            x = self._feedforward_layer_norm(x)
        x = project(self._feedforward_intermediate_dense, x)
        x = project(self._feedforward_output_dense, x)
        x = self._feedforward_dropout(x, training=training) + residual
        if not self.normalize_first:
            x = self._feedforward_layer_norm(x)
        return (x, scores) if return_attention_scores else x

    def compute_output_shape(self, inputs_shape: Any) -> Any:
        return inputs_shape


def _key_ids(inputs: Any, padding_mask: Any, document_ids: Any) -> Any:
    """[batch, sequence]: the document of each key, or 0 for padding; None: all are seen."""
    if document_ids is not None:
        return document_ids
    if padding_mask is None:
        # The only way to the mask of an earlier layer: JAX's arrays take no attributes.
        padding_mask = get_keras_mask(inputs)
    if padding_mask is not None and len(padding_mask.shape) != 2:
        raise ValueError(f"padding_mask must be [batch, sequence], not {padding_mask.shape}")
    return padding_mask
