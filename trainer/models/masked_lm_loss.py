"""Cross-entropy over the whole vocabulary without the matrix of logits.

The projection to the vocabulary is most of a small BERT's training step. On JAX, loss and gradients
are computed together, block of rows by block of rows, so that each logit is made once, used while it
is in the cache, and forgotten; a plain cross-entropy writes [rows, vocabulary] at least three times.
On TensorFlow and Torch the backend's own fused sparse cross-entropy over gathered labels is used.
All sums are in float32 whatever the inputs' dtype.

Shapes, as suffixes of names: N rows (masked positions of the whole batch), R rows of a block, D
hidden dimensions, V ids of the vocabulary.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import keras
from keras import ops

_BLOCK_ROWS_ACCELERATOR = 2048
# Of the rows of a block, for vector instructions.
_ROWS_MULTIPLE = 16


class MaskedLMSums(NamedTuple):
    """Float32 scalars over all rows; divide by ``weight`` for means."""

    loss: Any
    correct: Any
    weight: Any


def sum_masked_lm_loss(
    hidden: Any,
    embeddings: Any,
    bias: Any,
    labels: Any,
    weights: Any,
    block_rows: int | None = None,
) -> MaskedLMSums:
    """Weighted sums of cross-entropy and of right predictions, differentiable in the loss.

    Args:
        hidden: float[..., hidden]: the head's vectors at the masked positions.
        embeddings: float[vocabulary, hidden]: the (tied) output table.
        bias: float[vocabulary].
        labels: int[...]: the right ids.
        weights: float[...]: 0.0 for unused slots. Not differentiated.
        block_rows: most rows of a block on JAX; default ``default_block_rows(hidden)``.

    Returns:
        ``loss``, ``correct`` (a row is right where no logit is greater than its label's) and
        ``weight``, the sum of the weights.
    """
    width = hidden.shape[-1]
    hidden = ops.reshape(hidden, (-1, width))
    labels = ops.cast(ops.reshape(labels, (-1,)), "int32")
    weights = ops.cast(ops.reshape(weights, (-1,)), "float32")
    embeddings = ops.convert_to_tensor(embeddings)
    bias = ops.convert_to_tensor(bias)
    if keras.config.backend() == "jax":
        block_rows = block_rows or default_block_rows(width)
        loss, correct = _jax_sums()(hidden, embeddings, bias, labels, weights, block_rows)
    else:
        table = ops.cast(ops.transpose(embeddings), hidden.dtype)
        logits = ops.cast(ops.matmul(hidden, table), "float32") + ops.cast(bias, "float32")
        loss = ops.sum(_cross_entropy(logits, labels) * weights)
        wanted = ops.take_along_axis(logits, ops.expand_dims(labels, -1), axis=-1)[:, 0]
        right = ops.stop_gradient(wanted) >= ops.stop_gradient(ops.max(logits, axis=-1))
        correct = ops.sum(ops.cast(right, "float32") * weights)
    return MaskedLMSums(loss, correct, ops.sum(weights))


def default_block_rows(width: int) -> int:
    """Rows of logits computed at a time by one device, from vectors of ``width`` dimensions.

    On a CPU a block's logits should stay in the cache; but every block reads the whole table and
    its gradient once, which costs more the wider they are.
    """
    import jax

    if jax.default_backend() != "cpu":
        return _BLOCK_ROWS_ACCELERATOR
    return min(max(width, 128), 512)


def _even_block_rows(rows: int, most: int) -> int:
    """Rows of each block where as few blocks as can be, of ``most`` rows, share ``rows`` evenly."""
    blocks = max(1, -(-rows // most))
    even = -(-rows // (blocks * _ROWS_MULTIPLE)) * _ROWS_MULTIPLE
    return min(even, most, max(1, rows))


@functools.cache
def _jax_sums() -> Any:
    """Builds the JAX function ``sums``: hidden float[N, D], table float[V, D], bias float[V], labels
    int32[N], weights float32[N], block_rows -> (loss, correct)."""
    import jax
    import jax.numpy as jnp

    def in_blocks(array: Any, block_rows: int) -> Any:
        """[N, …] -> [R, blocks, …]: a block takes every blocks-th row."""
        blocks = -(-array.shape[0] // block_rows)
        missing = blocks * block_rows - array.shape[0]
        padded = jnp.pad(array, [(0, missing)] + [(0, 0)] * (array.ndim - 1))
        return padded.reshape(block_rows, blocks, *array.shape[1:])

    def accumulate(with_gradients: bool, *arguments: Any) -> tuple[Any, Any, tuple[Any, ...]]:
        """Loss, right predictions, and the gradients of hidden, table and bias if asked for."""
        hidden_ND, table_VD, bias_V, labels_N, weights_N, block_rows = arguments
        rows = hidden_ND.shape[0]
        block_rows = _even_block_rows(rows, block_rows)
        hidden, labels, weights = (
            in_blocks(array, block_rows) for array in (hidden_ND, labels_N, weights_N)
        )
        table_VD, bias_V = table_VD.astype(hidden.dtype), bias_V.astype(jnp.float32)
        # Else XLA folds the transposition into a product that it has no fast form of.
        table_DV = jax.lax.optimization_barrier(table_VD.T)

        def add_block(carry: tuple[Any, ...], block: Any) -> tuple[tuple[Any, ...], Any]:
            loss, correct, *d_parameters = carry
            hidden_RD, labels_R, weights_R = hidden[:, block], labels[:, block], weights[:, block]
            # The vocabulary comes first because sums over the last axis do not vectorise on CPUs:
            # this way the elementwise work beside the products falls to a tenth.
            logits_VR = jax.lax.dot_general(
                table_VD, hidden_RD, (((1,), (1,)), ((), ())), preferred_element_type=jnp.float32
            )
            logits_VR = logits_VR + bias_V[:, None]
            highest_R = logits_VR.max(axis=0)
            wanted_R = jnp.take_along_axis(logits_VR, labels_R[None, :], axis=0)[0]
            exponents_VR = jnp.exp(logits_VR - highest_R)
            total_R = exponents_VR.sum(axis=0)
            loss += ((jnp.log(total_R) + highest_R - wanted_R) * weights_R).sum()
            correct += ((wanted_R >= highest_R) * weights_R).sum()
            if not with_gradients:
                return (loss, correct), None
            # They cost two products while the logits are at hand.
            d_table_VD, d_bias_V = d_parameters
            is_label = jax.lax.broadcasted_iota(jnp.int32, logits_VR.shape, 0) == labels_R
            d_logits_VR = exponents_VR * (weights_R / total_R) - is_label * weights_R
            d_bias_V += d_logits_VR.sum(axis=1)
            d_logits_VR = d_logits_VR.astype(hidden_RD.dtype)
            d_hidden_DR = jnp.dot(table_DV, d_logits_VR, preferred_element_type=jnp.float32)
            d_table_VD += jnp.dot(d_logits_VR, hidden_RD, preferred_element_type=jnp.float32)
            return (loss, correct, d_table_VD, d_bias_V), d_hidden_DR

        carry = [jnp.zeros((), jnp.float32)] * 2
        if with_gradients:
            carry += [jnp.zeros(table_VD.shape, jnp.float32), jnp.zeros_like(bias_V)]
        (loss, correct, *gradients), d_hidden = jax.lax.scan(
            add_block, tuple(carry), jnp.arange(hidden.shape[1])
        )
        if with_gradients:
            # [blocks, D, R] -> rows in their order, without the padding.
            d_hidden = d_hidden.transpose(2, 0, 1).reshape(-1, d_hidden.shape[1])
            gradients = [d_hidden[:rows], *gradients]
        casts = zip(gradients, arguments, strict=False)
        return loss, correct, tuple(gradient.astype(a.dtype) for gradient, a in casts)

    @functools.partial(jax.custom_vjp, nondiff_argnums=(5,))
    def sums(*arguments: Any) -> tuple[Any, Any]:
        return accumulate(False, *arguments)[:2]

    def forward(*arguments: Any) -> tuple[tuple[Any, Any], tuple[Any, ...]]:
        loss, correct, gradients = accumulate(True, *arguments)
        return (loss, correct), gradients

    def backward(block_rows: int, gradients: Any, cotangents: Any) -> tuple[Any, ...]:
        d_loss, _ = cotangents  # ``correct`` is a count: it has no gradient
        scaled = [gradient * d_loss.astype(gradient.dtype) for gradient in gradients]
        return (*scaled, None, None)

    sums.defvjp(forward, backward)
    return sums


def _cross_entropy(logits: Any, labels: Any) -> Any:
    """The loss of each row by the fused function of TensorFlow or Torch."""
    if keras.config.backend() == "tensorflow":
        import tensorflow as tf

        return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
    import torch

    return torch.nn.functional.cross_entropy(logits, labels.long(), reduction="none")
