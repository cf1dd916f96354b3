"""Matrix products in the forms that XLA's CPU kernels are fast at; elsewhere Keras' own.

What slows a BERT on a CPU; other forms of the same sums avoid it:

- A factor that is summed along its first axis is read with a stride, half as fast; XLA folds any
  transposition that would help into the product again. Here the smaller factor is transposed, and a
  barrier keeps it so. Gradients are written out for the same reason.
- Keras asks for products of bfloat16 with sums in bfloat16, for which XLA converts to and fro, slower
  than in float32. Asked for float32 sums, it uses the CPU's own instructions (AMX, AVX512-BF16), up to
  three times as fast, and rounds once. TPUs and GPUs sum in float32 anyway.
- The gradient of a bias is a sum over all tokens. In bfloat16 XLA computes it window by window, one
  number at a time, rounding between; in float32 it rounds once and is fast.
- A product of bfloat16 with more than one batch axis is computed in float32, see ``product_of_batches``.
"""

from __future__ import annotations

import functools
import math
from pathlib import Path
from typing import Any

import keras
from keras import ops


def einsum(equation: str, left: Any, right: Any) -> Any:
    """The product of two tensors; every index is in at least two of inputs and output."""
    if is_jax_on_cpu():
        return _product()(equation, left, right)
    return ops.einsum(equation, left, right)


def project(layer: Any, inputs: Any) -> Any:
    """``layer(inputs)`` of a ``Dense`` over [batch, sequence, features] or an ``EinsumDense``."""
    if not is_jax_on_cpu() or layer.quantization_mode:  # whose kernel is not the factor itself
        return layer(inputs)
    is_dense = isinstance(layer, keras.layers.Dense)
    equation = "abc,cd->abd" if is_dense else layer.equation
    x = ops.cast(inputs, layer.compute_dtype)
    x = einsum(equation, x, ops.cast(layer.kernel, layer.compute_dtype))
    if layer.bias is not None:
        x = _add_bias()(x, ops.cast(layer.bias, layer.compute_dtype))
    return x if layer.activation is None else layer.activation(x)


def is_jax_on_cpu() -> bool:
    """Whether the forms below are the faster ones."""
    if keras.backend.backend() != "jax":
        return False
    import jax

    return jax.default_backend() == "cpu"


def cpu_multiplies_bfloat16() -> bool:
    """Whether this CPU has instructions for products of bfloat16; without them float32 is faster."""
    facts = Path("/proc/cpuinfo")
    flags = facts.read_text().split() if facts.exists() else []
    return "amx_bf16" in flags or "avx512_bf16" in flags


def product_of_batches(left: Any, right: Any, batch_axes: int = 1, summed_axes: int = 1) -> Any:
    """float32[batch, rows, columns], on JAX, of [batch, rows, sums] and [batch, sums, columns].

    Each stands for any number of axes. XLA gets one of each: it would turn bfloat16 with more than one
    batch axis, or transposed in the product, into float32 before.
    """
    import jax
    import jax.numpy as jnp

    rows, columns = left.shape[:-summed_axes], right.shape[batch_axes + summed_axes :]
    batch, sums = math.prod(left.shape[:batch_axes]), math.prod(left.shape[-summed_axes:])
    factors = (
        left.reshape(batch, math.prod(rows[batch_axes:]), sums),
        right.reshape(batch, sums, math.prod(columns)),
    )
    left, right = jax.lax.optimization_barrier(factors)
    product = jax.lax.dot_general(
        left, right, (([2], [1]), ([0], [0])), preferred_element_type=jnp.float32
    )
    return product.reshape(*rows, *columns)


@functools.cache
def _product() -> Any:
    """Builds the JAX function ``(equation, left, right) -> product``, with its gradients."""
    import jax
    import jax.numpy as jnp

    def arranged(indices: str, tensor: Any, wanted: str) -> Any:
        if indices == wanted:
            return tensor
        moved = tensor.transpose([indices.index(i) for i in wanted])
        return jax.lax.optimization_barrier(moved)

    def multiply(equation: str, left: Any, right: Any) -> Any:
        first, second, output = equation.replace("->", ",").split(",")
        shared = [index for index in first if index in second]
        batch = "".join(index for index in shared if index in output)
        summed = "".join(index for index in shared if index not in output)

        def own(indices: str) -> str:
            return "".join(index for index in indices if index not in shared)

        def forms(one: str, other: str) -> tuple[str, str]:
            """What the kernels want: [batch, rows, sums] and [batch, sums, columns]."""
            return batch + own(one) + summed, batch + summed + own(other)

        def elements_moved(one: tuple[str, Any], other: tuple[str, Any]) -> int:
            wanted = forms(one[0], other[0])
            factors = zip((one, other), wanted, strict=True)
            return sum(
                math.prod(tensor.shape) for (indices, tensor), form in factors if indices != form
            )

        one, other = (first, left), (second, right)
        if elements_moved(other, one) < elements_moved(one, other):
            one, other = other, one
        rows, columns = forms(one[0], other[0])
        left_factor, right_factor = arranged(*one, rows), arranged(*other, columns)
        if batch:
            result = product_of_batches(left_factor, right_factor, len(batch), len(summed))
        else:
            sums = [rows.index(i) for i in summed], [columns.index(i) for i in summed]
            result = jax.lax.dot_general(
                left_factor, right_factor, (sums, ([], [])), preferred_element_type=jnp.float32
            )
        order = batch + own(one[0]) + own(other[0])
        if order != output:
            # Else XLA would exchange the factors to save transposing the result.
            result = jax.lax.optimization_barrier(result)
            result = result.transpose([order.index(i) for i in output])
        return result.astype(left.dtype)

    return _with_gradients(multiply)


def _with_gradients(multiply: Any) -> Any:
    """The JAX function ``multiply(equation, left, right)``; its gradients are such products too."""
    import jax

    @functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
    def product(equation: str, left: Any, right: Any) -> Any:
        return multiply(equation, left, right)

    def forward(equation: str, left: Any, right: Any) -> tuple[Any, Any]:
        return multiply(equation, left, right), (left, right)

    def backward(equation: str, kept: Any, gradient: Any) -> tuple[Any, Any]:
        left, right = kept
        first, second, output = equation.replace("->", ",").split(",")
        return (
            multiply(f"{output},{second}->{first}", gradient, right).astype(left.dtype),
            multiply(f"{output},{first}->{second}", gradient, left).astype(right.dtype),
        )

    product.defvjp(forward, backward)
    return product


@functools.cache
def _add_bias() -> Any:
    """Builds the JAX function ``(x, bias) -> x + bias``, with its gradients."""
    import jax
    import jax.numpy as jnp

    @jax.custom_vjp
    def add(x: Any, bias: Any) -> Any:
        return x + bias

    def forward(x: Any, bias: Any) -> tuple[Any, Any]:
        return x + bias, bias

    def backward(bias: Any, gradient: Any) -> tuple[Any, Any]:
        axes = tuple(range(gradient.ndim - bias.ndim))
        return gradient, gradient.astype(jnp.float32).sum(axes).astype(bias.dtype)

    add.defvjp(forward, backward)
    return add
