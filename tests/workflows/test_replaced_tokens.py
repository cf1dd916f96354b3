"""Telling replaced tokens apart: what is drawn, what is seen, and whom each loss teaches."""

from __future__ import annotations

import os

import numpy as np
import pytest

os.environ.setdefault("KERAS_BACKEND", "jax")

keras = pytest.importorskip("keras")
if keras.config.backend() != "jax":
    pytest.skip("needs the JAX backend", allow_module_level=True)

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402

from tests.workflows.replaced_tokens import ReplacedTokenModel, _draw  # noqa: E402
from trainer.models.bert_backbone import BertBackbone  # noqa: E402


def test_tokens_are_drawn_by_their_probabilities() -> None:
    shares = np.array([0.5, 0.3, 0.15, 0.05])
    hidden = jnp.ones((100, 100, 1))
    drawn = np.asarray(_draw(hidden, jnp.zeros((4, 1)), jnp.log(shares)))
    np.testing.assert_allclose(np.bincount(drawn.ravel()) / 10_000, shares, atol=0.02)
    np.testing.assert_array_equal(drawn, _draw(hidden, jnp.zeros((4, 1)), jnp.log(shares)))


def test_tokens_are_drawn_by_their_probabilities_from_several_groups() -> None:
    shares = np.random.default_rng(0).dirichlet(np.ones(300))
    drawn = np.asarray(_draw(jnp.ones((1000, 1000, 1)), jnp.zeros((300, 1)), jnp.log(shares)))
    found = np.bincount(drawn.ravel(), minlength=300) / 1_000_000
    # Four times the largest standard deviation.
    np.testing.assert_allclose(found, shares, atol=6e-4)
    assert found[299] > 0


def test_the_generator_learns_from_its_own_loss_alone() -> None:
    rng = np.random.default_rng(0)
    model = ReplacedTokenModel(BertBackbone(40, 1, 2, 16, 32, 0.0, 12))
    batch = {
        "token_ids": rng.integers(5, 40, (4, 12)),
        "segment_ids": np.zeros((4, 12), np.int32),
        "padding_mask": np.ones((4, 12), np.int32),
        "mask_positions": np.tile([2, 5, 9], (4, 1)),
        "mask_ids": rng.integers(5, 40, (4, 3)),
        "mask_weights": np.ones((4, 3), np.float32),
    }
    weights = [variable.value for variable in model.trainable_variables]

    def loss(weights: list[jax.Array], batch: dict[str, np.ndarray]) -> jax.Array:
        outputs, _ = model.stateless_call(weights, [], batch)
        return outputs["loss_sum"]

    gradients = jax.grad(loss)(weights, batch)
    # Where no token is real, there is nothing to tell apart.
    unseen = batch | {"document_ids": np.ones((4, 12), np.int32)}
    alone = jax.grad(loss)(weights, unseen | {"padding_mask": np.zeros((4, 12), np.int32)})
    for variable, both, one in zip(model.trainable_variables, gradients, alone, strict=True):
        if variable.path.startswith("generator/"):
            np.testing.assert_allclose(both, one, rtol=1e-4, atol=1e-6)
        else:
            assert not one.any()
    moved = {
        v.path.split("/")[0]
        for v, g in zip(model.trainable_variables, gradients, strict=True)
        if g.any()
    }
    assert {"generator", "token_embedding", "detector_dense"} <= moved
