"""Kernels of attention that XLA cannot share out: each device computes its own heads.

Shapes: as in ``attention``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def attend_own_heads(
    attend: Callable[..., Any], query: Any, key: Any, value: Any, *visible: Any
) -> Any:
    """``attend(query, key, value, *visible)`` on JAX, whose heads may be shared by the axis "model" of a
    mesh; ``visible``, arrays or None, is the same for all heads."""
    import jax

    mesh = jax.sharding.get_abstract_mesh()
    if "model" in {*mesh.axis_names} - {*mesh.manual_axes}:
        heads = jax.sharding.PartitionSpec(None, None, "model", None)
        everywhere = jax.sharding.PartitionSpec()
        attend = jax.shard_map(
            attend,
            in_specs=(heads,) * 3 + (everywhere,) * len(visible),
            out_specs=heads,
            axis_names={"model"},
            check_vma=False,
        )
    return attend(query, key, value, *visible)
