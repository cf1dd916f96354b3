"""JAX's splash attention, a kernel for TPUs that never holds a [B, H, Q, K] tensor.

Keras' own branch for TPUs falls back where a mask is traced, takes the first row's mask for all where
it is not, and without a mask lets nobody look ahead. Shapes: as in ``attention``.
"""

from __future__ import annotations

import math
from typing import Any

from trainer.layers.own_heads import attend_own_heads

# The kernel works on blocks of so many queries or keys, or on a half or a quarter of that.
_BLOCK, _LANES = 512, 128


def splash_takes_it() -> bool:
    """On a TPU; on several only with a mesh, as XLA cannot partition a Pallas kernel by itself."""
    import jax

    if jax.default_backend() != "tpu":
        return False
    return jax.device_count() == 1 or not jax.sharding.get_abstract_mesh().empty


def attend_by_splash(
    query: Any,
    key: Any,
    value: Any,
    key_ids: Any,
    query_ids: Any,
    scale: float,
    interpret: bool = False,
) -> Any:
    """As ``attention.attend``; ``interpret`` runs the kernel, slowly, on anything but a TPU."""
    import jax.numpy as jnp

    rows, queries = query.shape[:2]
    keys = key.shape[1]
    if key_ids is None:
        key_ids = jnp.ones((rows, keys), jnp.int32)
    if query_ids is None:
        key_ids, query_ids = key_ids != 0, jnp.ones((rows, queries), jnp.int32)
    # Padding keys belong to no document; padding queries to the last one's, so that they see keys.
    padded_queries, padded_keys = (-(-size // _LANES) * _LANES for size in (queries, keys))
    arguments = (
        pad_rows(query * jnp.asarray(scale, query.dtype), padded_queries),
        pad_rows(key, padded_keys),
        pad_rows(value, padded_keys),
        pad_rows(query_ids.astype(jnp.int32), padded_queries, mode="edge"),
        pad_rows(key_ids.astype(jnp.int32), padded_keys, constant_values=-1),
    )

    def attend(query: Any, key: Any, value: Any, query_ids: Any, key_ids: Any) -> Any:
        return _run_kernel(query, key, value, query_ids, key_ids, interpret)

    return attend_own_heads(attend, *arguments)[:, :queries]


def pad_rows(array: Any, length: int, **options: Any) -> Any:
    """[B, n, …] -> [B, length, …]; the options are ``jax.numpy.pad``'s."""
    import jax.numpy as jnp

    missing = length - array.shape[1]
    if not missing:
        return array
    return jnp.pad(array, [(0, 0), (0, missing)] + [(0, 0)] * (array.ndim - 2), **options)


def _run_kernel(
    query: Any, key: Any, value: Any, query_ids: Any, key_ids: Any, interpret: bool
) -> Any:
    import jax
    from jax.experimental.pallas.ops.tpu import splash_attention as splash

    queries, heads = query.shape[1:3]
    block_q, block_k = (math.gcd(size, _BLOCK) for size in (queries, key.shape[1]))
    sizes: dict[str, Any] = dict.fromkeys(("block_q", "block_q_dkv", "block_q_dq"), block_q)
    sizes |= dict.fromkeys(("block_kv", "block_kv_dkv", "block_kv_dq"), block_k)
    kernel = splash.make_splash_mha_single_device(
        splash.MultiHeadMask([splash.FullMask((queries, key.shape[1]))] * heads),
        block_sizes=splash.BlockSizes(**sizes),
        interpret=interpret,
    )
    q, k, v = (x.swapaxes(1, 2) for x in (query, key, value))
    return jax.vmap(kernel)(q, k, v, splash.SegmentIds(query_ids, key_ids)).swapaxes(1, 2)
