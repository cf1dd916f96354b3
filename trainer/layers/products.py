"""Matrix products of bfloat16 whose sums are float32, which is what CPUs have instructions for.

Keras asks JAX for products of bfloat16 that are summed in bfloat16 too. XLA then converts all to
float32 on a CPU, slower than float32 itself; asked for float32 sums, it uses the tile instructions
(AMX), three times as fast as float32. The result is rounded to bfloat16 once, so it is more exact as
well. TPUs and GPUs sum in float32 anyway; they and other dtypes take Keras' own path.
"""

from __future__ import annotations

import functools
from typing import Any

import keras
from keras import ops


def einsum(equation: str, left: Any, right: Any) -> Any:
    """The product of two tensors; every index stands in at least two of inputs and output."""
    if _wants_float32_sums(left):
        return _summed_in_float32()(equation, left, right)
    return ops.einsum(equation, left, right)


def project(layer: Any, inputs: Any) -> Any:
    """``layer(inputs)`` of a ``Dense`` over [batch, sequence, …] or an ``EinsumDense``."""
    if not _wants_float32_sums(ops.cast(inputs, layer.compute_dtype)):
        return layer(inputs)
    is_dense = isinstance(layer, keras.layers.Dense)
    equation = "abc,cd->abd" if is_dense else layer.equation
    x = ops.cast(inputs, layer.compute_dtype)
    x = einsum(equation, x, ops.cast(layer.kernel, layer.compute_dtype))
    if layer.bias is not None:
        x = x + ops.cast(layer.bias, layer.compute_dtype)
    return x if layer.activation is None else layer.activation(x)


def _wants_float32_sums(values: Any) -> bool:
    if keras.backend.backend() != "jax":
        return False
    return keras.backend.standardize_dtype(values.dtype) == "bfloat16" and _is_cpu()


@functools.cache
def _is_cpu() -> bool:
    import jax

    return jax.default_backend() == "cpu"


@functools.cache
def _summed_in_float32() -> Any:
    """Builds ``(equation, left, right) -> product`` with gradients of the same kind."""
    import jax
    import jax.numpy as jnp

    def summed_in_float32(equation: str, left: Any, right: Any) -> Any:
        first, second, output = equation.replace("->", ",").split(",")
        shared = [index for index in first if index in second]
        batch = [index for index in shared if index in output]
        summed = [index for index in shared if index not in output]
        result = jax.lax.dot_general(
            left,
            right,
            (
                ([first.index(i) for i in summed], [second.index(i) for i in summed]),
                ([first.index(i) for i in batch], [second.index(i) for i in batch]),
            ),
            preferred_element_type=jnp.float32,
        )
        # XLA would rather exchange the factors than transpose the result, and then has no
        # instruction for summing over what is not the last axis of the first.
        result = jax.lax.optimization_barrier(result)
        order = batch + [i for i in first + second if i not in shared]
        return result.transpose([order.index(i) for i in output])

    @functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
    def product(equation: str, left: Any, right: Any) -> Any:
        return summed_in_float32(equation, left, right).astype(left.dtype)

    def forward(equation: str, left: Any, right: Any) -> tuple[Any, Any]:
        return product(equation, left, right), (left, right)

    def backward(equation: str, kept: Any, gradient: Any) -> tuple[Any, Any]:
        left, right = kept
        inputs, output = equation.split("->")
        first, second = inputs.split(",")
        return (
            product(f"{output},{second}->{first}", gradient, right),
            product(f"{first},{output}->{second}", left, gradient),
        )

    product.defvjp(forward, backward)
    return product
