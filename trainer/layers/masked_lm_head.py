"""The masked-LM head: encoder outputs at chosen positions -> a distribution over the vocabulary.

Gather, dense layer, layer normalisation, then the transposed token embedding plus a bias (Devlin et
al. 2018, appendix; Press and Wolf 2016 for the tied weights). Arguments, sub-layer names and
variables are KerasNLP's ``MaskedLMHead``.

Shapes: B rows of the batch, L positions, S masked positions, D hidden dimensions, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from trainer.layers.check_ids import check_ids
from trainer.layers.constructor_arguments import ConstructorArguments
from trainer.layers.products import project


@keras.saving.register_keras_serializable(package="bertmill")
class MaskedLMHead(ConstructorArguments, keras.layers.Layer):
    """Predicts tokens at ``mask_positions``.

    Args:
        vocabulary_size: number of ids; may be None where ``token_embedding`` is given.
        token_embedding: a ``ReversibleEmbedding`` whose table projects; a new kernel where None.
        intermediate_activation: of the dense layer.
        activation: of the outputs: None for logits, "softmax" for probabilities.
        layer_norm_epsilon, kernel_initializer, bias_initializer: as in KerasNLP.
    """

    def __init__(
        self,
        vocabulary_size: int | None = None,
        token_embedding: Any = None,
        intermediate_activation: Any = "relu",
        activation: Any = None,
        layer_norm_epsilon: float = 1e-05,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        **kwargs: Any,
    ) -> None:
        super().__init__(**{**kwargs, "autocast": False})
        if token_embedding is not None:
            if vocabulary_size and vocabulary_size != token_embedding.input_dim:
                raise ValueError(
                    f"vocabulary_size {vocabulary_size} is not the {token_embedding.input_dim} "
                    "ids of token_embedding; leave vocabulary_size out or make them equal"
                )
            vocabulary_size = token_embedding.input_dim
        if vocabulary_size is None:
            raise ValueError("MaskedLMHead needs vocabulary_size or token_embedding")
        self.vocabulary_size = vocabulary_size
        self.token_embedding = token_embedding
        self.intermediate_activation = keras.activations.get(intermediate_activation)
        self.activation = keras.activations.get(activation)
        self.layer_norm_epsilon = layer_norm_epsilon
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)

    def build(self, inputs_shape: Any, mask_positions_shape: Any = None) -> None:
        embedding = self.token_embedding
        features = inputs_shape[-1] if embedding is None else embedding.output_dim
        self._intermediate_dense = keras.layers.Dense(
            features,
            activation=self.intermediate_activation,
            kernel_initializer=self.kernel_initializer,
            bias_initializer=self.bias_initializer,
            dtype=self.dtype_policy,
            name="intermediate_dense",
        )
        self._intermediate_dense.build((inputs_shape[0], None, inputs_shape[-1]))
        self._intermediate_layer_norm = keras.layers.LayerNormalization(
            epsilon=self.layer_norm_epsilon, dtype=self.dtype_policy, name="intermediate_layer_norm"
        )
        self._intermediate_layer_norm.build((inputs_shape[0], None, features))
        if embedding is None:
            self._kernel = self.add_weight(
                name="output_kernel",
                shape=(features, self.vocabulary_size),
                initializer=self.kernel_initializer,
            )
        self.output_bias = self.add_weight(
            name="output_bias", shape=(self.vocabulary_size,), initializer=self.bias_initializer
        )
        self.built = True

    def transform(self, masked_BSD: Any) -> Any:
        """Everything between encoder and projection: float[B, S, D] -> float[B, S, D]."""
        return self._intermediate_layer_norm(project(self._intermediate_dense, masked_BSD))

    def call(self, inputs: Any, mask_positions: Any) -> Any:
        """float[B, L, D], int[B, S] -> float[B, S, V]."""
        if inputs.shape[1] is not None:
            check_ids(mask_positions, inputs.shape[1], "mask_positions")
        positions = ops.expand_dims(mask_positions, axis=-1)
        x_BSD = self.transform(ops.take_along_axis(inputs, positions, axis=1))
        if self.token_embedding is not None:
            logits_BSV = self.token_embedding(x_BSD, reverse=True)
        else:
            logits_BSV = ops.matmul(x_BSD, ops.cast(self._kernel, self.compute_dtype))
        # Not cast down: in mixed precision the sum and the loss after it stay in float32.
        outputs = ops.add(ops.cast(logits_BSV, self.compute_dtype), self.output_bias)
        return outputs if self.activation is None else self.activation(outputs)

    def compute_output_shape(self, inputs_shape: Any, mask_positions_shape: Any) -> Any:
        return (*mask_positions_shape, self.vocabulary_size)
