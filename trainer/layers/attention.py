"""Attention inside documents, in the form that is fastest on the device at hand.

Who sees whom is said by ids, two short vectors a row, instead of a mask of all pairs: a query sees
the keys of its own document. Kernels that take ids never hold a [B, H, Q, K] tensor:

- TPU: JAX's splash attention, with the ids as its segments. (Keras' own branch for TPUs falls back
  where a mask is traced, takes the first row's mask for all where it is not, and without a mask
  lets nobody look ahead.)
- GPU: cuDNN's flash attention for 16-bit floats, with a mask that all heads share.
- JAX on a CPU: explicit products, see ``products``.
- Elsewhere, and for what the kernels do not take: the backend's own attention.

Shapes: B rows, Q queries, K keys, H heads, D dimensions of a head.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import keras
from keras import ops

from trainer.layers.products import einsum, is_jax_on_cpu

# The splash kernel works on blocks of so many queries or keys, or on a half or a quarter of that.
_SPLASH_BLOCK, _SPLASH_LANES = 512, 128
_CUDNN_HEAD_DIM = 128


def dense_mask(mask: Any, key_ids: Any, query_ids: Any) -> Any:
    """bool[B, 1 or Q, K], True where a query may see a key; None where all may see all."""
    if key_ids is not None:
        if query_ids is None:
            ids_mask = ops.cast(ops.expand_dims(key_ids, 1), "bool")
        else:
            ids_mask = ops.expand_dims(query_ids, 2) == ops.expand_dims(key_ids, 1)
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
        scale: what products of queries and keys are multiplied with.
        mask: [B, 1 or Q, K], nonzero where attention is allowed; None: everywhere.
        key_ids: int[B, K], the document of each key.
        query_ids: int[B, Q], the document of each query; a query sees the keys of its document.
            None: every query sees the keys whose id is not 0.

    Returns:
        float[B, Q, H, D].
    """
    if is_jax_on_cpu():
        return attend_explicitly(query, key, value, dense_mask(mask, key_ids, query_ids), scale)
    if keras.config.backend() != "jax":
        mask = dense_mask(mask, key_ids, query_ids)
        mask = None if mask is None else ops.expand_dims(mask, 1)
        return ops.dot_product_attention(query, key, value, mask=mask, scale=scale)
    if mask is None and _splash_takes_it():
        return attend_by_splash(query, key, value, key_ids, query_ids, scale)
    mask = dense_mask(mask, key_ids, query_ids)
    return attend_by_jax(
        query, key, value, mask, scale, "cudnn" if _cudnn_takes_it(query) else "xla"
    )


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
        mask = ops.expand_dims(mask, 1)
        scores = ops.where(mask, scores, ops.cast(lowest, scores.dtype))
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
        # With a mask its backward pass wants even lengths.
        query = _padded(query, queries + queries % 2)
        key, value = (_padded(x, keys + keys % 2) for x in (key, value))
        mask = jnp.pad(mask, ((0, 0), (0, 0), (0, queries % 2), (0, keys % 2)))
    mixed = jax.nn.dot_product_attention(
        query, key, value, mask=mask, scale=scale, implementation=form
    )
    return mixed[:, :queries]


def attend_by_splash(
    query: Any,
    key: Any,
    value: Any,
    key_ids: Any,
    query_ids: Any,
    scale: float,
    interpret: bool = False,
) -> Any:
    """JAX's attention kernel for TPUs; ``interpret`` runs it, slowly, on anything else."""
    import jax.numpy as jnp

    rows, queries = query.shape[:2]
    keys = key.shape[1]
    if key_ids is None:
        key_ids = jnp.ones((rows, keys), jnp.int32)
    if query_ids is None:
        key_ids, query_ids = key_ids != 0, jnp.ones((rows, queries), jnp.int32)
    # Keys that fill up belong to no document; queries that fill up to that of the last one, so that
    # they see something.
    padded_queries, padded_keys = (
        -(-size // _SPLASH_LANES) * _SPLASH_LANES for size in (queries, keys)
    )
    key_ids = _padded(key_ids.astype(jnp.int32), padded_keys, constant_values=-1)
    query_ids = _padded(query_ids.astype(jnp.int32), padded_queries, mode="edge")
    query = _padded(query * jnp.asarray(scale, query.dtype), padded_queries)
    key, value = (_padded(x, padded_keys) for x in (key, value))
    mixed = _splash_on_devices(query, key, value, query_ids, key_ids, interpret)
    return mixed[:, :queries]


def _padded(array: Any, length: int, **options: Any) -> Any:
    """[B, n, …] -> [B, length, …]."""
    import jax.numpy as jnp

    missing = length - array.shape[1]
    if not missing:
        return array
    widths = [(0, 0), (0, missing)] + [(0, 0)] * (array.ndim - 2)
    return jnp.pad(array, widths, **options)


def _splash_on_devices(
    query: Any, key: Any, value: Any, query_ids: Any, key_ids: Any, interpret: bool
) -> Any:
    """The kernel, for each device's own rows and heads where a mesh is set."""
    import jax
    from jax.experimental.pallas.ops.tpu import splash_attention as splash

    def attend_locally(query: Any, key: Any, value: Any, query_ids: Any, key_ids: Any) -> Any:
        queries, heads = query.shape[1:3]
        block_q, block_k = (math.gcd(size, _SPLASH_BLOCK) for size in (queries, key.shape[1]))
        mask = splash.MultiHeadMask([splash.FullMask((queries, key.shape[1]))] * heads)
        kernel = splash.make_splash_mha_single_device(
            mask,
            block_sizes=splash.BlockSizes(
                block_q=block_q,
                block_kv=block_k,
                block_q_dkv=block_q,
                block_kv_dkv=block_k,
                block_q_dq=block_q,
                block_kv_dq=block_k,
            ),
            interpret=interpret,
        )
        q, k, v = (x.swapaxes(1, 2) for x in (query, key, value))
        return jax.vmap(kernel)(q, k, v, splash.SegmentIds(query_ids, key_ids)).swapaxes(1, 2)

    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty:
        return attend_locally(query, key, value, query_ids, key_ids)
    rows_and_heads = jax.sharding.PartitionSpec("batch", None, "model", None)
    rows = jax.sharding.PartitionSpec("batch", None)
    return jax.shard_map(
        attend_locally,
        mesh=mesh,
        in_specs=(rows_and_heads,) * 3 + (rows,) * 2,
        out_specs=rows_and_heads,
        check_vma=False,
    )(query, key, value, query_ids, key_ids)


def _splash_takes_it() -> bool:
    """On a TPU; on several only with a mesh, as XLA cannot share a Pallas kernel out by itself."""
    import jax

    if jax.default_backend() != "tpu":
        return False
    return jax.device_count() == 1 or not jax.sharding.get_abstract_mesh().empty


def _cudnn_takes_it(query: Any) -> bool:
    """Whether cuDNN's flash attention has such heads and numbers, on an Ampere GPU or a later one."""
    import jax

    if jax.default_backend() != "gpu" or query.dtype not in ("bfloat16", "float16"):
        return False
    capability = getattr(jax.local_devices()[0], "compute_capability", None)
    if capability is None or float(capability) < 8:
        return False
    return query.shape[-1] <= _CUDNN_HEAD_DIM and query.shape[-1] % 8 == 0
