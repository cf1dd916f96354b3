"""Dropout whose random bits cost almost nothing on JAX.

Keras draws dropout masks on JAX with Threefry, which on a CPU takes a fifth of a BERT-tiny training
step, and keeps the mask for the backward pass. Here a mask bit is a hash of (the layer's seed, the
element's index): XLA fuses it into the multiplication, the backward pass computes it again, and it
does not depend on how the rows of a batch are shared by devices, nor on the parts that it is learned
from in (``rows_of_batch``). Other backends use their own dropout. The class name and the state
(``seed_generator``) are Keras', so saved weights fit both.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import keras

_ROWS: ContextVar[tuple[Any, int]] = ContextVar("rows", default=(0, 1))


@contextmanager
def rows_of_batch(first: Any, step: int) -> Iterator[None]:
    """What is traced within drops what it would of a whole batch: row i here is its row
    ``first`` + i * ``step``; ``first`` is an int or an integer array of JAX."""
    before = _ROWS.set((first, step))
    try:
        yield
    finally:
        _ROWS.reset(before)


@keras.saving.register_keras_serializable(package="bertmill")
class Dropout(keras.layers.Dropout):
    """``keras.layers.Dropout`` with the same arguments, meaning and saved state."""

    def call(self, inputs: Any, training: bool | None = False) -> Any:
        """Drops elements of a float tensor of any shape with probability ``rate`` when training."""
        if not training or not 0 < self.rate < 1:
            return super().call(inputs, training=training)
        if keras.config.backend() != "jax" or self.noise_shape is not None:
            return super().call(inputs, training=training)
        return drop_on_jax(inputs, self.seed_generator.next(), float(self.rate))


def drop_on_jax(inputs: Any, seed: Any, rate: float) -> Any:
    """The inputs [rows, …], an element 0 with probability ``rate``; ``seed`` is uint32[2]."""
    import jax.numpy as jnp

    first, step = _ROWS.get()
    return _dropped()(inputs, seed, jnp.asarray(first, jnp.uint32), step, rate)


@functools.cache
def _dropped() -> Any:
    """Builds the JAX function ``(inputs, seed uint32[2], first row, step, rate) -> dropped inputs``."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    def mixed(bits: Any, multiplier: int, shift: int) -> Any:
        bits = bits ^ (bits >> np.uint32(shift))
        return bits * np.uint32(multiplier)

    def kept(seed: Any, first: Any, step: int, shape: tuple[int, ...], rate: float) -> Any:
        # Murmur3's 32-bit finaliser over the element's index, keyed before, between and after.
        seed = seed.astype(jnp.uint32)
        key = mixed(mixed(seed[0] + np.uint32(0x9E3779B9), 0x85EBCA6B, 16), 0xC2B2AE35, 13)
        other = mixed(mixed(seed[1] ^ key, 0x85EBCA6B, 16), 0xC2B2AE35, 13)
        index = jnp.zeros(shape, jnp.uint32)
        stride = 1
        for axis in reversed(range(len(shape))):
            along = jax.lax.broadcasted_iota(jnp.uint32, shape, axis)
            if axis == 0:
                along = along * np.uint32(step) + first
            index = index + along * np.uint32(stride & 0xFFFFFFFF)
            stride *= shape[axis]
        bits = mixed((index * np.uint32(0x9E3779B1)) ^ key, 0x85EBCA6B, 16)
        bits = mixed(bits + other, 0xC2B2AE35, 13)
        bits = bits ^ (bits >> np.uint32(16))
        return bits >= np.uint32(min(round(rate * 2**32), 2**32 - 1))

    # Traced and lowered once for all layers of one shape: these are most of a model's operations.
    @functools.partial(jax.jit, static_argnums=(3, 4))
    def scaled(values: Any, seed: Any, first: Any, step: int, rate: float) -> Any:
        zero = jnp.zeros((), values.dtype)
        scale = jnp.asarray(1.0 / (1.0 - rate), values.dtype)
        return jnp.where(kept(seed, first, step, values.shape, rate), values * scale, zero)

    @functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4))
    def dropped(values: Any, seed: Any, first: Any, step: int, rate: float) -> Any:
        return scaled(values, seed, first, step, rate)

    def forward(values: Any, seed: Any, first: Any, step: int, rate: float) -> tuple[Any, Any]:
        return scaled(values, seed, first, step, rate), (seed, first)

    def backward(step: int, rate: float, drawn_by: Any, gradient: Any) -> tuple[Any, None, None]:
        return scaled(gradient, *drawn_by, step, rate), None, None

    dropped.defvjp(forward, backward)
    return dropped
