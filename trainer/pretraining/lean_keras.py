"""Keras on JAX without TensorFlow riding along.

Keras imports TensorFlow, where it is installed, merely to ask whether a value is one of its tensors:
ten seconds and a page of chatter for nothing. Our commands hand Keras numpy arrays only, so on JAX
they tell it not to ask. Libraries that import ``trainer`` are not affected.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any


def with_lean_keras(main: Callable[..., Any]) -> Callable[..., Any]:
    """The ``main`` of a command, run on JAX (or what KERAS_BACKEND names) with a lean Keras."""

    @functools.wraps(main)
    def run(*arguments: Any) -> Any:
        if os.environ.setdefault("KERAS_BACKEND", "jax") == "jax":
            from keras.src.utils import module_utils

            # Where Keras notes that TensorFlow is not installed. If a later Keras notes it elsewhere,
            # this line does nothing, and nothing breaks.
            module_utils.tensorflow._available = False
        return main(*arguments)

    return run
