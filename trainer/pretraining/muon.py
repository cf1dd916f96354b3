"""Muon for the matrices of a run, AdamW for all else.

Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks"; scaled as in Liu et al.
2025 (arXiv 2502.16982), so that one learning rate and one weight decay serve both.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from trainer.layers.products import is_jax_on_cpu


@keras.saving.register_keras_serializable(package="bertmill")
class MuonForKernels(keras.optimizers.Muon):
    """Keras' Muon, for the kernels of an encoder and its masked-LM head.

    Keras takes every variable of two axes for a matrix: the kernels of attention have three, and its
    biases two. Here a kernel is a matrix from all its inputs to all its outputs, whatever its axes,
    and nothing else is; embeddings and the next-sentence layer, whose outputs are logits, learn by
    AdamW. ``orthogonalize_dtype`` is what the iteration computes with: bfloat16 serves, as its authors
    say.
    """

    def __init__(self, *args: Any, orthogonalize_dtype: str = "float32", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.orthogonalize_dtype = orthogonalize_dtype

    def _should_use_adamw(self, variable: Any) -> bool:
        return variable.name != "kernel" or "next_sentence" in variable.path

    def _muon_update_step(self, gradient: Any, variable: Any, lr: Any, m: Any) -> None:
        self.assign_add(m, ops.add(gradient, m * (self.momentum - 1)))
        direction = ops.add(gradient, self.momentum * m)
        matrix = ops.reshape(direction, matrix_shape(variable.shape))
        update = self.zeropower_via_newtonschulz5(matrix, self.ns_steps)
        update = ops.reshape(self.lr_adjust(update), variable.shape)
        self.assign_sub(variable, ops.cast(lr, variable.dtype) * update)

    def zeropower_via_newtonschulz5(self, x: Any, steps: int) -> Any:
        """float32[n, m]: near the orthogonal matrix next to ``x``, by Newton and Schulz's iteration."""
        x = x / (ops.sqrt(ops.sum(ops.square(x))) + 1e-7)
        a, b, c = self.muon_a, self.muon_b, self.muon_c
        tall = x.shape[0] > x.shape[1]

        def rounded(matrix: Any) -> Any:
            return _lay_out(ops.cast(matrix, self.orthogonalize_dtype))

        for _ in range(steps):
            factor = rounded(x)
            turned = _lay_out(ops.transpose(factor))
            square = _multiply(turned, factor) if tall else _multiply(factor, turned)
            fourth_power = _multiply(rounded(square), rounded(square))
            mixed = rounded(b * square + c * fourth_power)
            x = a * x + (_multiply(factor, mixed) if tall else _multiply(mixed, factor))
        return x

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "orthogonalize_dtype": self.orthogonalize_dtype}


def _multiply(left: Any, right: Any) -> Any:
    """The product of two matrices in float32."""
    if keras.config.backend() != "jax":
        return ops.cast(ops.matmul(left, right), "float32")
    import jax.numpy as jnp

    return jnp.matmul(left, right, preferred_element_type=jnp.float32)


def _lay_out(x: Any) -> Any:
    """The matrix ``x`` row by row in memory: with one that is only read as if it were transposed, XLA's
    CPU kernels compute bfloat16 products in float32."""
    if not is_jax_on_cpu():
        return x
    import jax

    return jax.lax.optimization_barrier(x.reshape(-1)).reshape(x.shape)


def matrix_shape(shape: tuple[int, ...]) -> tuple[int, int]:
    """(inputs, outputs) of a kernel: of [inputs, outputs], or of attention's [hidden, heads, size] and
    [heads, size, hidden], where hidden = heads x size."""
    if len(shape) == 2:
        return shape[0], shape[1]
    first, second, third = shape
    return (first, second * third) if first == second * third else (first * second, third)
