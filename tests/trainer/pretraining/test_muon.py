"""Muon: what it does to each kind of variable, against Keras' own Muon and AdamW."""

from __future__ import annotations

import os

import numpy as np
import pytest

os.environ.setdefault("KERAS_BACKEND", "jax")

keras = pytest.importorskip("keras")

from trainer.pretraining.muon import MuonForKernels, matrix_shape  # noqa: E402
from trainer.pretraining.optimizer import WarmupThenDecay, build_optimizer  # noqa: E402

_RATE, _DECAY = 0.1, 0.5


def apply_steps(optimizer, start, gradients, name="kernel", path="layer"):
    """A variable's values after one step for each of the gradients."""
    with keras.name_scope(path):
        variable = keras.Variable(start, name=name)
    if optimizer is None:
        schedule = WarmupThenDecay(_RATE, 0, 10, "constant")
        optimizer = build_optimizer(
            "muon", [variable], schedule=schedule, weight_decay=_DECAY, clip_norm=0.0
        )
    for gradient in gradients:
        optimizer.apply([keras.ops.convert_to_tensor(gradient)], [variable])
    return keras.ops.convert_to_numpy(variable)


def draw(*shape, count=None):
    values = np.random.default_rng(7).normal(size=(count or 1, *shape)).astype(np.float32)
    return values if count else values[0]


@pytest.mark.parametrize(
    ("shape", "matrix"),
    [
        ((8, 24), (8, 24)),
        ((24, 8), (24, 8)),
        ((8, 2, 4), (8, 8)),  # query, key, value: [hidden, heads, size]
        ((2, 4, 8), (8, 8)),  # attention's output: [heads, size, hidden]
    ],
)
def test_a_kernel_learns_as_the_matrix_that_it_is(shape, matrix):
    assert matrix_shape(shape) == matrix
    start, gradients = draw(*shape), draw(*shape, count=3)
    theirs = keras.optimizers.Muon(_RATE, weight_decay=_DECAY, adam_weight_decay=_DECAY)
    expected = apply_steps(
        theirs, start.reshape(matrix), [gradient.reshape(matrix) for gradient in gradients]
    )
    learned = apply_steps(None, start, gradients)
    np.testing.assert_allclose(learned.reshape(matrix), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "path", "shape"),
    [
        ("embeddings", "token_embedding", (30, 8)),
        ("kernel", "next_sentence", (8, 2)),
        ("bias", "query", (2, 4)),  # two axes, and no matrix
        ("output_bias", "mlm_head", (30,)),
        ("gamma", "layer_norm", (8,)),
    ],
)
def test_all_else_learns_by_adamw(name, path, shape):
    start, gradients = draw(*shape), draw(*shape, count=3)
    decay = _DECAY if name in ("embeddings", "kernel") else 0.0
    adamw = keras.optimizers.AdamW(_RATE, weight_decay=decay, epsilon=1e-6)
    expected = apply_steps(adamw, start, gradients, name, path)
    learned = apply_steps(None, start, gradients, name, path)
    np.testing.assert_allclose(learned, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("shape", [(32, 32), (32, 128), (128, 32)])
def test_updates_are_nearly_orthogonal(dtype, shape):
    optimizer = MuonForKernels(orthogonalize_dtype=dtype)
    matrix = keras.ops.convert_to_tensor(draw(*shape))
    made = keras.ops.convert_to_numpy(optimizer.zeropower_via_newtonschulz5(matrix, 5))
    assert made.dtype == np.float32
    lengths = np.linalg.svd(made, compute_uv=False)
    assert lengths.min() > 0.4  # of a random square, the least is far from 1 after five rounds
    assert lengths.max() < 1.3
    left, _, right = np.linalg.svd(draw(*shape), full_matrices=False)
    nearest = left @ right
    cosine = (made * nearest).sum() / np.linalg.norm(made) / np.linalg.norm(nearest)
    assert cosine > 0.97


def test_a_saved_optimizer_is_the_same_again():
    optimizer = MuonForKernels(0.02, weight_decay=0.1, orthogonalize_dtype="bfloat16")
    again = MuonForKernels.from_config(optimizer.get_config())
    assert again.get_config() == optimizer.get_config()
