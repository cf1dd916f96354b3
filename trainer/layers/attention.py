"""Attention inside documents, in the form that is fastest on the device at hand.

Ids say which keys a query sees, two short vectors a row instead of a mask of all pairs: those of its
own document. Kernels that take ids never hold a [B, H, Q, K] tensor:

- TPU: JAX's splash attention, with the ids as its segments, see ``splash_attention``.
- GPU: cuDNN's flash attention for 16-bit floats, with a mask that all heads share.
- JAX on a CPU: explicit probabilities with a gradient of their own, see ``attention_on_cpu``.
- Elsewhere, and for what the kernels do not take: the backend's own attention.

Shapes: B rows, Q queries, K keys, H heads, D dimensions of a head.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import keras
from keras import ops

from trainer.layers.attention_on_cpu import attend_on_cpu
from trainer.layers.own_heads import attend_own_heads
from trainer.layers.products import einsum, is_jax_on_cpu
from trainer.layers.splash_attention import attend_by_splash, pad_rows, splash_takes_it

_CUDNN_HEAD_DIM = 128


def dense_mask(mask: Any, key_ids: Any, query_ids: Any) -> Any:
    """bool[B, 1 or Q, K], True where a query may see a key; None where all may see all."""
    if key_ids is not None:
        ids_mask = ops.expand_dims(key_ids, 1)
        if query_ids is not None:
            ids_mask = ops.expand_dims(query_ids, 2) == ids_mask
        ids_mask = ops.cast(ids_mask, "bool")
        mask = ids_mask if mask is None else ids_mask & ops.cast(mask, "bool")
    return None if mask is None else ops.cast(mask, "bool")


def attend(
    query: Any,
    key: Any,
    value: Any,
    *,
    scale: float,
    mask: Any = None,
    key_ids: Any = None,
    query_ids: Any = None,
) -> Any:
    """Attention without dropout.

    Args:
        query: float[B, Q, H, D]; key, value: float[B, K, H, D].
        scale: factor of the products of queries and keys.
        mask: [B, 1 or Q, K], nonzero where attention is allowed; None: everywhere.
        key_ids: int[B, K], the document of each key.
        query_ids: int[B, Q], the document of each query; a query sees the keys of its document.
            None: every query sees the keys whose id is not 0.

    Returns:
        float[B, Q, H, D].
    """
    on_jax = keras.config.backend() == "jax"
    if on_jax and mask is None and splash_takes_it():
        return attend_by_splash(query, key, value, key_ids, query_ids, scale)
    mask = dense_mask(mask, key_ids, query_ids)
    if is_jax_on_cpu():
        return attend_on_cpu(query, key, value, mask, scale)
    if on_jax:
        form: Literal["xla", "cudnn"] = "cudnn" if _cudnn_takes_it(query) else "xla"
        return attend_by_jax(query, key, value, mask, scale, form)
    mask = None if mask is None else ops.expand_dims(mask, 1)
    return ops.dot_product_attention(query, key, value, mask=mask, scale=scale)


def attend_explicitly(
    query: Any,
    key: Any,
    value: Any,
    mask: Any,
    scale: float,
    drop: Callable[[Any], Any] | None = None,
) -> Any:
    """Attention with explicit probabilities [B, H, Q, K], which ``drop`` is applied to."""
    query = query * ops.cast(scale, query.dtype)
    scores = einsum("bqhd,bkhd->bhqk", query, key)
    if mask is not None:
        lowest = -3e4 if keras.backend.standardize_dtype(scores.dtype) == "float16" else -1e9
        scores = ops.where(ops.expand_dims(mask, 1), scores, ops.cast(lowest, scores.dtype))
    probabilities = ops.softmax(scores, axis=-1)
    if drop is not None:
        probabilities = drop(probabilities)
    return einsum("bkhd,bhqk->bqhd", value, probabilities)


def attend_by_jax(
    query: Any, key: Any, value: Any, mask: Any, scale: float, form: Literal["xla", "cudnn"]
) -> Any:
    """``jax.nn.dot_product_attention`` in one of its forms; mask bool[B, 1 or Q, K] or None."""
    import jax
    import jax.numpy as jnp

    queries, keys = query.shape[1], key.shape[1]
    if mask is not None:
        # cuDNN can also take documents as offsets, but is slower with them: a step of BERT-base on
        # 128 rows of 512 took 134 ms for at most 32 documents a row, against 110 (H100, 2026-11-26).
        mask = jnp.broadcast_to(mask[:, None], (query.shape[0], 1, queries, keys))
    if form == "cudnn" and mask is not None:
        # With a mask its backward pass needs even lengths.
        query = pad_rows(query, queries + queries % 2)
        key, value = (pad_rows(x, keys + keys % 2) for x in (key, value))
        mask = jnp.pad(mask, ((0, 0), (0, 0), (0, queries % 2), (0, keys % 2)))

    def attend_as_named(query: Any, key: Any, value: Any, mask: Any) -> Any:
        return jax.nn.dot_product_attention(
            query, key, value, mask=mask, scale=scale, implementation=form
        )

    if form == "cudnn":
        return attend_own_heads(attend_as_named, query, key, value, mask)[:, :queries]
    return attend_as_named(query, key, value, mask)


def _cudnn_takes_it(query: Any) -> bool:
    """Whether cuDNN's flash attention has such heads and dtypes, on an Ampere GPU or a later one."""
    import jax

    if jax.default_backend() != "gpu" or query.dtype not in ("bfloat16", "float16"):
        return False
    capability = getattr(jax.local_devices()[0], "compute_capability", None)
    if capability is None or float(capability) < 8:
        return False
    return query.shape[-1] <= _CUDNN_HEAD_DIM and query.shape[-1] % 8 == 0
