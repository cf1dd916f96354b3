"""A function of a model on arrays, compiled as one program on JAX.

Op by op, JAX traces, compiles and loads a hundred little programs for each new shape, which takes
seconds; the one program takes a fraction.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras


def compiled(model: Any, function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """``function``, which uses variables of ``model`` and changes none, with numpy arrays as outputs."""
    call = function
    if keras.config.backend() == "jax":
        import jax

        @jax.jit
        def with_values(values: list[Any], inputs: Any) -> Any:
            # As arguments: what a program holds as constants is compiled with it.
            with keras.StatelessScope(zip(model.variables, values, strict=True)):
                return function(inputs)

        def call(inputs: Any) -> Any:
            return with_values([variable.value for variable in model.variables], inputs)

    return lambda inputs: keras.tree.map_structure(keras.ops.convert_to_numpy, call(inputs))
