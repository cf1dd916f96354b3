"""Calls a model on arrays and gives numpy outputs and gradients; compiled as one program on JAX.

Op by op, JAX compiles a hundred little programs for each new shape.
"""

from __future__ import annotations

import sys
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


def assert_close(pair: str, found: np.ndarray, expected: np.ndarray, atol: float) -> None:
    """Says how far two models' outputs are apart, and fails where that is more than ``atol``."""
    difference = float(np.abs(found - expected).max())
    print(f"parity: {keras.config.backend()}, {pair}: {difference:.1e}", file=sys.stderr)
    np.testing.assert_allclose(found, expected, rtol=0, atol=atol)


def loss_and_gradients(model: Any, batch: Any) -> tuple[float, list[np.ndarray]]:
    """``loss_sum`` of a ``PretrainingModel`` in training, and its gradients; None becomes 0."""
    backend = keras.config.backend()
    variables = model.trainable_variables
    gradients: list[Any]
    if backend == "jax":
        import jax

        others = [v.value for v in model.non_trainable_variables]

        def loss_of(weights: Any, batch: Any) -> Any:
            return model.stateless_call(weights, others, batch, training=True)[0]["loss_sum"]

        weights = [v.value for v in variables]
        loss, gradients = jax.jit(jax.value_and_grad(loss_of))(weights, batch)
    elif backend == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            loss = model(batch, training=True)["loss_sum"]
        found = tape.gradient(loss, [v.value for v in variables])
        gradients = [None if g is None else tf.convert_to_tensor(g) for g in found]
    else:
        model.zero_grad()
        loss = model(batch, training=True)["loss_sum"]
        loss.backward()
        gradients = [v.value.grad for v in variables]
        gradients = [None if g is None else g.detach().cpu() for g in gradients]
    arrays = [
        np.zeros(v.shape) if g is None else np.array(g)
        for g, v in zip(gradients, variables, strict=True)
    ]
    return float(keras.ops.convert_to_numpy(loss)), arrays
