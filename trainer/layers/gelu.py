"""GELUs that are fast in bfloat16, registered so that models can be saved.

On JAX, a GELU of bfloat16 is computed in float32, in one pass, and its gradient in another, from nothing
but its input. XLA on a CPU would convert, round and store between any two operations; on a GPU it would
write another array as large as the result, for the gradient.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import keras
from keras import ops

# A power of two, so that folding it into weights rounds nothing; small enough for float16.
SHARPNESS = 256.0


@keras.saving.register_keras_serializable(package="bertmill")
def gelu_approximate(x: Any) -> Any:
    """0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))), elementwise: Google's BERT."""
    return _rounded_once(functools.partial(keras.activations.gelu, approximate=True), x)


@keras.saving.register_keras_serializable(package="bertmill")
def gelu_exact(x: Any) -> Any:
    """0.5 x (1 + erf(x / sqrt(2))), elementwise: Hugging Face's default."""
    return _rounded_once(functools.partial(keras.activations.gelu, approximate=False), x)


@keras.saving.register_keras_serializable(package="bertmill")
def gelu_sharp(x: Any) -> Any:
    """gelu(256 x), elementwise: nearly 256 relu(x), whichever GELU it is.

    The exact GELU and its tanh approximation differ by up to 4.7e-4. Before a normalisation, which
    forgets the factor 256, that becomes 1.8e-6, and an epsilon of 1e-5 becomes 1.5e-10.
    """
    return _rounded_once(_gelu_sharp, x)


def _gelu_sharp(x: Any) -> Any:
    return keras.activations.gelu(SHARPNESS * x, approximate=False)


def _rounded_once(function: Callable[[Any], Any], x: Any) -> Any:
    """An elementwise function of x; of bfloat16 on JAX by way of float32."""
    if keras.backend.standardize_dtype(x.dtype) != "bfloat16" or keras.config.backend() != "jax":
        return function(x)
    import jax

    @jax.custom_vjp
    def once(x: Any) -> Any:
        return ops.cast(function(ops.cast(x, "float32")), x.dtype)

    def forward(x: Any) -> tuple[Any, Any]:
        return once(x), x

    def backward(x: Any, gradient: Any) -> tuple[Any]:
        # Else XLA keeps what the two passes have in common, in float32, instead of computing it again.
        x = jax.lax.optimization_barrier(x)
        _, pull_back = jax.vjp(function, ops.cast(x, "float32"))
        return (ops.cast(pull_back(ops.cast(gradient, "float32"))[0], x.dtype),)

    once.defvjp(forward, backward)
    return once(x)
