"""Padding that the embedding finds is kept from attention, without a word about lost masks."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from trainer.layers.position_embedding import PositionEmbedding  # noqa: E402
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
