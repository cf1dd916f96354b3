"""Cross-entropy over the whole vocabulary without the matrix of logits.

The projection to the vocabulary is most of a small BERT's training step. On JAX, loss and gradients
are computed together, block of rows by block of rows, so that each logit is made once, used while it
is in the cache, and forgotten; a plain cross-entropy writes [rows, vocabulary] at least three times.
On TensorFlow and Torch the backend's own fused sparse cross-entropy over gathered labels is used.
All sums are in float32 whatever the inputs' dtype.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import keras
from keras import ops

_BLOCK_ROWS_ACCELERATOR = 2048


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
        block_rows: rows a block on JAX; default ``default_block_rows(hidden)``. With rows sharded
            over d devices it should be a multiple of d.

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
    backend = keras.config.backend()
    if backend == "jax":
        block_rows = block_rows or default_block_rows(width)
        loss, correct = _jax_sums()(hidden, embeddings, bias, labels, weights, block_rows)
    else:
        table = ops.cast(ops.transpose(embeddings), hidden.dtype)
        logits = ops.cast(ops.matmul(hidden, table), "float32") + ops.cast(bias, "float32")
        per_row, right = _tensorflow_rows if backend == "tensorflow" else _torch_rows
        loss = ops.sum(per_row(logits, labels) * weights)
        correct = ops.sum(ops.cast(right(logits, labels), "float32") * weights)
    return MaskedLMSums(loss, correct, ops.sum(weights))


@functools.cache
def default_block_rows(width: int) -> int:
    """Rows of logits computed at a time by one device, from vectors of ``width`` dimensions.

    On a CPU a block's logits had best stay in the cache; but every block goes over the whole table
    and its gradient once, and that costs the more, the wider they are.
    """
    import jax

    if jax.default_backend() != "cpu":
        return _BLOCK_ROWS_ACCELERATOR
    return min(max(width, 128), 512)


@functools.cache
def _jax_sums() -> Any:
    """Builds ``(hidden, embeddings, bias, labels, weights, block_rows) -> (loss, correct)``."""
    import jax
    import jax.numpy as jnp

    def in_blocks(array: Any, block_rows: int) -> tuple[Any, int]:
        """[rows, …] -> [block, blocks, …]: a block takes every blocks-th row.

        So contiguous shards of rows stay on their devices and every device works on every block.
        """
        rows = array.shape[0]
        blocks = -(-rows // block_rows)
        padding = [(0, blocks * block_rows - rows)] + [(0, 0)] * (array.ndim - 1)
        padded = jnp.pad(array, padding)
        return padded.reshape(block_rows, blocks, *array.shape[1:]), blocks

    def block_logits(hidden: Any, embeddings: Any, bias: Any, labels: Any) -> tuple[Any, ...]:
        """Logits float32[vocabulary, rows], and for each row the highest and the wanted one.

        The vocabulary comes first because sums over the last axis do not vectorise on CPU: this
        way round, the elementwise work beside the products falls to a tenth.
        """
        logits = jax.lax.dot_general(
            embeddings, hidden, (((1,), (1,)), ((), ())), preferred_element_type=jnp.float32
        )
        logits = logits + bias[:, None]
        highest = logits.max(axis=0)
        wanted = jnp.take_along_axis(logits, labels[None, :], axis=0)[0]
        return logits, highest, wanted

    def split(arguments: tuple[Any, ...], block_rows: int) -> tuple[Any, int]:
        hidden, _, _, labels, weights = arguments
        rows = hidden.shape[0]
        block_rows = min(block_rows, rows) or 1
        parts = [in_blocks(array, block_rows) for array in (hidden, labels, weights)]
        return [part for part, _ in parts], parts[0][1]

    def cast(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        hidden, embeddings, bias, labels, weights = arguments
        return hidden, embeddings.astype(hidden.dtype), bias.astype(jnp.float32), labels, weights

    @functools.partial(jax.custom_vjp, nondiff_argnums=(5,))
    def sums(*arguments: Any) -> tuple[Any, Any]:
        block_rows = arguments[-1]
        _, embeddings, bias, _, _ = arrays = cast(arguments[:-1])
        (hidden, labels, weights), blocks = split(arrays, block_rows)

        def add_block(carry: tuple[Any, Any], block: Any) -> tuple[tuple[Any, Any], None]:
            label, weight = labels[:, block], weights[:, block]
            logits, highest, wanted = block_logits(hidden[:, block], embeddings, bias, label)
            total = jnp.log(jnp.exp(logits - highest).sum(axis=0)) + highest
            loss, correct = carry
            loss += ((total - wanted) * weight).sum()
            return (loss, correct + ((wanted >= highest) * weight).sum()), None

        zero = jnp.zeros((), jnp.float32)
        (loss, correct), _ = jax.lax.scan(add_block, (zero, zero), jnp.arange(blocks))
        return loss, correct

    def forward(*arguments: Any) -> tuple[tuple[Any, Any], tuple[Any, ...]]:
        """Also the gradients of the loss: they cost two products while the logits are at hand."""
        block_rows, originals = arguments[-1], arguments[:-1]
        _, embeddings, bias, _, _ = arrays = cast(originals)
        (hidden, labels, weights), blocks = split(arrays, block_rows)

        def add_block(carry: tuple[Any, ...], block: Any) -> tuple[tuple[Any, ...], Any]:
            loss, correct, d_embeddings, d_bias = carry
            rows, label, weight = hidden[:, block], labels[:, block], weights[:, block]
            logits, highest, wanted = block_logits(rows, embeddings, bias, label)
            exponents = jnp.exp(logits - highest)
            total = exponents.sum(axis=0)
            loss += ((jnp.log(total) + highest - wanted) * weight).sum()
            correct += ((wanted >= highest) * weight).sum()
            is_label = jax.lax.broadcasted_iota(jnp.int32, logits.shape, 0) == label
            d_logits = exponents * (weight / total) - is_label * weight
            d_bias += d_logits.sum(axis=1)
            d_logits = d_logits.astype(rows.dtype)
            d_rows = jax.lax.dot_general(
                d_logits, embeddings, (((0,), (0,)), ((), ())), preferred_element_type=jnp.float32
            )
            d_embeddings += jnp.dot(d_logits, rows, preferred_element_type=jnp.float32)
            return (loss, correct, d_embeddings, d_bias), d_rows

        zero = jnp.zeros((), jnp.float32)
        carry = (zero, zero, jnp.zeros(embeddings.shape, jnp.float32), jnp.zeros_like(bias))
        carry, d_hidden = jax.lax.scan(add_block, carry, jnp.arange(blocks))
        loss, correct, d_embeddings, d_bias = carry
        # [blocks, block, hidden] -> rows in their order, without the padding.
        d_hidden = d_hidden.swapaxes(0, 1).reshape(-1, d_hidden.shape[-1])
        d_hidden = d_hidden[: originals[0].shape[0]]
        gradients = (
            d_hidden.astype(originals[0].dtype),
            d_embeddings.astype(originals[1].dtype),
            d_bias.astype(originals[2].dtype),
        )
        return (loss, correct), gradients

    def backward(block_rows: int, gradients: Any, cotangents: Any) -> tuple[Any, ...]:
        d_loss, _ = cotangents  # ``correct`` is a count: it has no gradient
        scaled = [gradient * d_loss.astype(gradient.dtype) for gradient in gradients]
        return (*scaled, None, None)

    sums.defvjp(forward, backward)
    return sums


def _tensorflow_loss(logits: Any, labels: Any) -> Any:
    import tensorflow as tf

    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)


def _torch_loss(logits: Any, labels: Any) -> Any:
    import torch

    return torch.nn.functional.cross_entropy(logits, labels.long(), reduction="none")


def _is_right(logits: Any, labels: Any) -> Any:
    wanted = ops.take_along_axis(logits, ops.expand_dims(labels, -1), axis=-1)[:, 0]
    return ops.stop_gradient(wanted) >= ops.stop_gradient(ops.max(logits, axis=-1))


_tensorflow_rows = (_tensorflow_loss, _is_right)
_torch_rows = (_torch_loss, _is_right)
