"""The fused masked-LM loss equals the plain cross-entropy, values and gradients."""

from __future__ import annotations

import functools

import keras
import numpy as np
from keras import ops

from trainer.models.masked_lm_loss import sum_masked_lm_loss

_ROWS, _WORDS, _WIDTH = 37, 91, 8


def _plain(hidden, embeddings, bias, labels, weights):
    logits = ops.matmul(hidden, ops.transpose(embeddings)) + bias
    chosen = ops.sum(ops.log_softmax(logits) * ops.one_hot(labels, _WORDS), axis=-1)
    return -ops.sum(chosen * weights)


def _arrays():
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=(_ROWS, _WIDTH)).astype("float32")
    embeddings = rng.normal(size=(_WORDS, _WIDTH)).astype("float32")
    bias = rng.normal(size=_WORDS).astype("float32")
    labels = rng.integers(0, _WORDS, _ROWS).astype("int32")
    weights = (rng.random(_ROWS) < 0.7).astype("float32") * 1.5
    return hidden, embeddings, bias, labels, weights


def _compiled(function):
    if keras.config.backend() != "jax":
        return function
    import jax

    return jax.jit(function)


def _gradients(function, variables):
    """Gradients of a scalar function of arrays, with any backend."""
    backend = keras.config.backend()
    if backend == "jax":
        import jax

        return jax.jit(jax.grad(lambda parts: function(*parts)))(tuple(variables))
    if backend == "tensorflow":
        import tensorflow as tf

        tensors = [tf.Variable(v) for v in variables]
        with tf.GradientTape() as tape:
            value = function(*[tf.convert_to_tensor(t) for t in tensors])
        return tape.gradient(value, tensors)
    import torch

    tensors = [torch.tensor(v, requires_grad=True) for v in variables]
    function(*tensors).backward()
    return [t.grad for t in tensors]


def check_loss_equals_plain_cross_entropy(folder):
    arrays = _arrays()
    hidden, embeddings, bias, labels, weights = map(ops.convert_to_tensor, arrays)
    plain = ops.convert_to_numpy(_compiled(_plain)(hidden, embeddings, bias, labels, weights))
    logits = arrays[0] @ arrays[1].T + arrays[2]
    right = (logits.argmax(axis=1) == arrays[3]) * arrays[4]
    for block_rows in (None, 1, 8, 64):
        sums = _compiled(functools.partial(sum_masked_lm_loss, block_rows=block_rows))(
            hidden, embeddings, bias, labels, weights
        )
        np.testing.assert_allclose(ops.convert_to_numpy(sums.loss), plain, rtol=1e-5)
        np.testing.assert_allclose(ops.convert_to_numpy(sums.correct), right.sum(), rtol=1e-6)
        np.testing.assert_allclose(ops.convert_to_numpy(sums.weight), arrays[4].sum(), rtol=1e-6)


def check_gradients_equal_plain_cross_entropy(folder):
    *variables, labels, weights = _arrays()
    expected = _gradients(lambda *v: _plain(*v, labels, ops.convert_to_tensor(weights)), variables)
    for block_rows in (1, 8, 64):
        found = _gradients(
            lambda *v, b=block_rows: 3.0 * sum_masked_lm_loss(*v, labels, weights, b).loss,
            variables,
        )
        for one, other in zip(found, expected, strict=True):
            one, other = np.asarray(one), np.asarray(other)
            np.testing.assert_allclose(one, 3.0 * other, rtol=1e-4, atol=1e-4)


def check_loss_in_half_precision_sums_in_float32(folder):
    hidden, embeddings, bias, labels, weights = _arrays()
    sums = _compiled(functools.partial(sum_masked_lm_loss, block_rows=8))(
        ops.cast(hidden, "bfloat16"), embeddings, bias, labels, weights
    )
    assert keras.backend.standardize_dtype(sums.loss.dtype) == "float32"
    plain = _compiled(_plain)(hidden, embeddings, bias, labels, weights)
    np.testing.assert_allclose(
        ops.convert_to_numpy(sums.loss), ops.convert_to_numpy(plain), rtol=2e-2
    )
