"""Calls a model on arrays and gives numpy outputs and gradients; compiled as one program on JAX."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from trainer.models.compiled import compiled


@functools.lru_cache(maxsize=8)
def _compiled(model: Any) -> Any:
    return compiled(model, functools.partial(model, training=False))


def outputs_of(model: Any, inputs: Any) -> Any:
    """The outputs of a call without training, in the structure the model gives them in."""
    return _compiled(model)(inputs)


def assert_close(pair: str, found: np.ndarray, expected: np.ndarray, atol: float) -> None:
    """Says how far two models' outputs are apart, and fails where that is more than ``atol``."""
    difference = float(np.abs(found - expected).max())
    print(f"parity: {keras.config.backend()}, {pair}: {difference:.1e}", file=sys.stderr)
    np.testing.assert_allclose(found, expected, rtol=0, atol=atol)


def loss_and_gradients(model: Any) -> Callable[[Any], tuple[float, list[np.ndarray]]]:
    """``loss_sum`` of a ``PretrainingModel`` in training on a batch, and its gradients; None becomes 0.

    The function compiles once for each shape of a batch.
    """
    backend = keras.config.backend()
    variables = model.trainable_variables
    compute: Callable[[Any], tuple[Any, list[Any]]]
    if backend == "jax":
        import jax

        others = [v.value for v in model.non_trainable_variables]

        def loss_of(weights: Any, batch: Any) -> Any:
            return model.stateless_call(weights, others, batch, training=True)[0]["loss_sum"]

        step = jax.jit(jax.value_and_grad(loss_of))
        compute = functools.partial(step, [v.value for v in variables])
    elif backend == "tensorflow":
        import tensorflow as tf

        def compute(batch: Any) -> tuple[Any, list[Any]]:
            with tf.GradientTape() as tape:
                loss = model(batch, training=True)["loss_sum"]
            found = tape.gradient(loss, [v.value for v in variables])
            return loss, [None if g is None else tf.convert_to_tensor(g) for g in found]
    else:

        def compute(batch: Any) -> tuple[Any, list[Any]]:
            model.zero_grad()
            loss = model(batch, training=True)["loss_sum"]
            loss.backward()
            found = [v.value.grad for v in variables]
            return loss, [None if g is None else g.detach().cpu() for g in found]

    def loss_and_arrays(batch: Any) -> tuple[float, list[np.ndarray]]:
        loss, gradients = compute(batch)
        arrays = [
            np.zeros(v.shape) if g is None else np.array(g)
            for g, v in zip(gradients, variables, strict=True)
        ]
        return float(keras.ops.convert_to_numpy(loss)), arrays

    return loss_and_arrays
