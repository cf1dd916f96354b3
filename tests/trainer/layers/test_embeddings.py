"""Padding that the embedding finds is kept from attention, without a word about lost masks; gradients of
tokens and positions are summed in float32 where activations have 16 bits.
"""

from __future__ import annotations

import warnings

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from trainer.layers.position_embedding import PositionEmbedding  # noqa: E402
from trainer.layers.reversible_embedding import ReversibleEmbedding  # noqa: E402
from trainer.layers.token_and_position_embedding import TokenAndPositionEmbedding  # noqa: E402
from trainer.layers.transformer_encoder import TransformerEncoder  # noqa: E402


def classic(token_ids):
    return TokenAndPositionEmbedding(10, 8, 4, mask_zero=True)(token_ids)


def by_hand(token_ids):
    tokens = keras.layers.Embedding(10, 4, mask_zero=True)(token_ids)
    return keras.layers.Add()([tokens, PositionEmbedding(8)(tokens)])


@pytest.mark.parametrize("embed", [classic, by_hand])
def test_the_mask_of_padding_reaches_the_encoder(embed) -> None:
    token_ids = keras.Input((None,), dtype="int32")
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*mask.*")
        model = keras.Model(token_ids, TransformerEncoder(8, num_heads=2)(embed(token_ids)))
        short = model.predict_on_batch(np.array([[5, 3, 2]]))
        padded = model.predict_on_batch(np.array([[5, 3, 2, 0, 0]]))
    np.testing.assert_allclose(padded[:, :3], short, atol=1e-6)


@pytest.mark.skipif(keras.config.backend() != "jax", reason="gradients by JAX")
def test_gradients_of_a_frequent_token_and_of_a_position_are_summed_in_float32() -> None:
    """Sums of 2,002 ones: bfloat16 knows 2,000 and 2,008."""
    import jax

    rows = 1001
    token_ids, positions = np.full((rows, 2), 3), np.full((rows, 2), 1)
    layer = TokenAndPositionEmbedding(5, 4, 2, dtype="mixed_bfloat16")
    assert layer(token_ids, positions=positions).dtype == "bfloat16"

    def total(weights: list[object]) -> object:
        vectors, _ = layer.stateless_call(weights, [], token_ids, positions=positions)
        return vectors.astype("float32").sum()

    gradients = jax.grad(total)([variable.value for variable in layer.trainable_variables])
    for gradient, row in zip(gradients, (3, 1), strict=True):
        assert gradient.dtype == "float32"
        np.testing.assert_array_equal(gradient[row], 2 * rows)
        assert np.count_nonzero(gradient) == 2


def test_vectors_are_projected_back_in_the_dtype_of_activations() -> None:
    layer = ReversibleEmbedding(5, 2, logit_soft_cap=30.0, dtype="mixed_bfloat16")
    vectors = layer(np.arange(5)[None])
    logits = layer(vectors, reverse=True)
    assert vectors.dtype == logits.dtype == "bfloat16"
    expected = np.asarray(layer.embeddings @ keras.ops.transpose(layer.embeddings))
    np.testing.assert_allclose(np.asarray(logits[0], np.float32), expected, atol=2e-2)
