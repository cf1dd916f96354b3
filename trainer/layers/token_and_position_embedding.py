"""The sum of a token embedding and a position embedding, as one layer (KerasNLP's signature)."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from trainer.layers.constructor_arguments import ConstructorArguments
from trainer.layers.position_embedding import PositionEmbedding
from trainer.layers.reversible_embedding import ReversibleEmbedding


@keras.saving.register_keras_serializable(package="bertmill")
class TokenAndPositionEmbedding(ConstructorArguments, keras.layers.Layer):
    """int[batch, sequence] -> float[batch, sequence, embedding_dim].

    Args:
        vocabulary_size: number of ids.
        sequence_length: the longest sequence.
        embedding_dim: width of a vector.
        tie_weights: whether ``token_embedding`` projects back with the same table.
        embeddings_initializer: of both tables.
        mask_zero: whether id 0 is padding, masked for later layers.
    """

    def __init__(
        self,
        vocabulary_size: int,
        sequence_length: int,
        embedding_dim: int,
        tie_weights: bool = True,
        embeddings_initializer: Any = "uniform",
        mask_zero: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.vocabulary_size = int(vocabulary_size)
        self.sequence_length = int(sequence_length)
        self.embedding_dim = int(embedding_dim)
        self.tie_weights = tie_weights
        self.embeddings_initializer = keras.initializers.get(embeddings_initializer)
        self.mask_zero = mask_zero
        self.token_embedding = ReversibleEmbedding(
            self.vocabulary_size,
            self.embedding_dim,
            tie_weights,
            self.embeddings_initializer.clone(),
            mask_zero=mask_zero,
            dtype=self.dtype_policy,
            name="token_embedding",
        )
        self.position_embedding = PositionEmbedding(
            self.sequence_length,
            initializer=self.embeddings_initializer.clone(),
            dtype=self.dtype_policy,
            name="position_embedding",
        )
        self.supports_masking = True

    def build(self, input_shape: Any) -> None:
        self.token_embedding.build(tuple(input_shape))
        self.position_embedding.build((*input_shape, self.embedding_dim))
        self.built = True

    def call(self, inputs: Any, start_index: Any = 0, positions: Any = None) -> Any:
        """Token vectors plus the vectors of ``positions`` (or of start_index, start_index + 1, …)."""
        tokens = self.token_embedding(inputs)
        return tokens + self.position_embedding(
            tokens, start_index=start_index, positions=positions
        )

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        return ops.not_equal(inputs, 0) if self.mask_zero else None

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (*input_shape, self.embedding_dim)
