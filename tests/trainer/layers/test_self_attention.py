"""Attention whose probabilities are not kept: the same function, in without waiting in memory."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

keras = pytest.importorskip("keras")
jax = pytest.importorskip("jax")

from trainer.layers import self_attention  # noqa: E402
from trainer.layers.self_attention import SelfAttention  # noqa: E402

_BATCH, _LENGTH, _HEADS, _WIDTH, _LAYERS = 2, 64, 4, 32, 4

if keras.config.backend() != "jax":
    pytest.skip("only JAX recomputes attention", allow_module_level=True)


@pytest.fixture
def layers():
    made = [SelfAttention(_HEADS, _WIDTH // _HEADS, dropout=0.3) for _ in range(_LAYERS)]
    for layer in made:
        layer.build((None, _LENGTH, _WIDTH), (None, _LENGTH, _WIDTH))
    return made


def run(layers, training, weights, states, inputs, mask):
    """The sum of squares of what comes out of all layers, one after the other."""
    values = inputs
    for layer, weight, state in zip(layers, weights, states, strict=True):
        mixed, _ = layer.stateless_call(
            weight, state, values, values, attention_mask=mask, training=training
        )
        values = values + mixed
    return (values**2).sum()


def arguments(layers):
    rng = np.random.default_rng(0)
    weights = [[v.value for v in layer.trainable_variables] for layer in layers]
    states = [[v.value for v in layer.non_trainable_variables] for layer in layers]
    inputs = rng.normal(size=(_BATCH, _LENGTH, _WIDTH)).astype(np.float32)
    mask = np.tril(np.ones((_BATCH, _LENGTH, _LENGTH), bool))
    return weights, states, inputs, mask


def test_loss_and_gradients_are_the_same_either_way(layers, monkeypatch):
    kept = jax.jit(jax.value_and_grad(partial(run, layers, True)))(*arguments(layers))
    monkeypatch.setattr(self_attention, "_KEPT_BYTES", 0)
    step = jax.jit(jax.value_and_grad(partial(run, layers, True)))
    computed_twice = step(*arguments(layers))
    again = step(*arguments(layers))
    for one, other in zip(jax.tree.leaves(kept), jax.tree.leaves(computed_twice), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)
    for one, other in zip(jax.tree.leaves(again), jax.tree.leaves(computed_twice), strict=True):
        np.testing.assert_array_equal(one, other)
    # Dropout took part in it.
    calm = jax.jit(partial(run, layers, False))(*arguments(layers))
    assert abs(float(calm) - float(kept[0])) > 1e-3


def test_probabilities_are_not_kept_for_the_gradient(layers, monkeypatch, capsys):
    def kept():
        """How many arrays of the probabilities' size wait for the backward pass."""
        jax.ad_checkpoint.print_saved_residuals(partial(run, layers, True), *arguments(layers))
        return capsys.readouterr().out.count(f"f32[{_BATCH},{_HEADS},{_LENGTH},{_LENGTH}]")

    assert kept() >= _LAYERS
    monkeypatch.setattr(self_attention, "_KEPT_BYTES", 0)
    assert kept() == 0


def test_only_large_probabilities_count():
    assert not self_attention._fills_memory((16, 8, 512, 512), "float32")
    assert self_attention._fills_memory((32, 12, 512, 512), "float32")
    assert not self_attention._fills_memory((32, 12, 512, 512), "bfloat16")
    assert not self_attention._fills_memory((None, 12, 512, 512), "float32")
