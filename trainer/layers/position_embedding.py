"""Learned position vectors, with KerasNLP's variables.

Positions are ``start_index, start_index + 1, …`` or those that the caller gives: in packed rows they
restart at each document.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from trainer.layers.check_ids import check_ids
from trainer.layers.constructor_arguments import ConstructorArguments


@keras.saving.register_keras_serializable(package="bertmill")
class PositionEmbedding(ConstructorArguments, keras.layers.Layer):
    """Position vectors for inputs of shape [batch, sequence, features] (only the shape is used).

    Args:
        sequence_length: the longest sequence: the number of vectors.
        initializer: initializer of the vectors.
    """

    def __init__(
        self, sequence_length: int, initializer: Any = "glorot_uniform", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if sequence_length is None:
            raise ValueError("sequence_length must be an integer, not None")
        self.sequence_length = int(sequence_length)
        self.initializer = keras.initializers.get(initializer)
        self.supports_masking = True  # Padding does not move tokens.

    def build(self, inputs_shape: Any) -> None:
        self.position_embeddings = self.add_weight(
            name="embeddings",
            shape=(self.sequence_length, inputs_shape[-1]),
            initializer=self.initializer,
            autocast=False,  # as in ReversibleEmbedding
        )
        self.built = True

    def call(self, inputs: Any, start_index: Any = 0, positions: Any = None) -> Any:
        """Vectors of the inputs' shape; ``positions`` is int[sequence] or int[batch, sequence]."""
        shape = ops.shape(inputs)
        table = ops.convert_to_tensor(self.position_embeddings)
        if positions is not None:
            check_ids(positions, self.sequence_length, "positions")
            chosen = ops.take(table, positions, axis=0)
        else:
            length = inputs.shape[-2]
            if length is not None and length > self.sequence_length:
                raise ValueError(
                    f"a sequence of {length} is longer than the {self.sequence_length} positions "
                    f"of layer '{self.name}'; shorten it or raise max_sequence_length"
                )
            chosen = ops.slice(table, (start_index, 0), (shape[-2], shape[-1]))
        return ops.broadcast_to(ops.cast(chosen, self.compute_dtype), shape)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape
