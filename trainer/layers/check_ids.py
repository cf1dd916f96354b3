"""Ids without a row in their table: an error where the values can be seen, as in every eager call.

JAX fills what it looks up beyond a table with NaN and counts negative ids from its end, TensorFlow
gives zeros on a GPU: neither says so. Torch raises an error of its own. Inside compiled functions
there are no values to look at; nothing is checked there, and nothing costs time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from pipelines.errors import UserError


class IdError(UserError):
    """An id that is out of range, without the arguments of all calls that Keras would add to it."""

    _keras_call_info_injected = True


def check_ids(ids: Any, count: int, name: str) -> None:
    """Raises IdError if an id is not in [0, count); ``name`` says of what."""
    values = _values(ids)
    if values is None or not values.size:
        return
    least, most = values.min(), values.max()
    if least < 0 or most >= count:
        wrong = least if least < 0 else most
        raise IdError(
            f"{name} holds {wrong}, but there are only {count:,}: 0 to {count - 1}; was the input made "
            "with another vocabulary or for another model?"
        )


def check_arrays(inputs: Any, limits: Mapping[str, int]) -> None:
    """``check_ids`` of the NumPy arrays in a dict of inputs, each below its limit.

    For data that only compiled functions will see.
    """
    for name, count in limits.items() if isinstance(inputs, dict) else ():
        if isinstance(inputs.get(name), np.ndarray):
            check_ids(inputs[name], count, name)


def _values(ids: Any) -> np.ndarray | None:
    """The ids as an array, or None where they have no values yet, or Torch checks them."""
    if isinstance(ids, np.ndarray | list | tuple):
        return np.asarray(ids)
    backend = keras.backend.backend()
    if isinstance(ids, keras.KerasTensor) or backend not in ("jax", "tensorflow"):
        return None
    if backend == "jax":
        import jax

        return None if isinstance(ids, jax.core.Tracer) else np.asarray(ids)
    import tensorflow

    is_eager = tensorflow.is_tensor(ids) and not tensorflow.is_symbolic_tensor(ids)
    return np.asarray(keras.ops.convert_to_numpy(ids)) if is_eager else None
