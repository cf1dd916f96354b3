"""Calls a model on arrays and gives numpy outputs; compiled as one program on JAX.

Op by op, JAX compiles a hundred little programs for each new shape.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np


def outputs_of(model: Any, inputs: Any) -> Any:
    """The outputs of a call without training, in the structure the model gives them in."""
    if keras.config.backend() == "jax":
        import jax

        trainable = [v.value for v in model.trainable_variables]
        others = [v.value for v in model.non_trainable_variables]
        outputs, _ = jax.jit(model.stateless_call)(trainable, others, inputs)
    else:
        outputs = model(inputs)
    return keras.tree.map_structure(lambda x: np.asarray(keras.ops.convert_to_numpy(x)), outputs)
