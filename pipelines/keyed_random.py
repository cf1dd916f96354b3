"""Random numbers that are a pure function of their keys (a counter-based generator).

Nothing here has state: a draw is ``fold(purpose_key(seed, "mask positions"), row_id, position)``
and so on, the same on every machine, in every order and in every batch. 64-bit arithmetic only,
so the bits are exact everywhere. Never use ``random``, ``np.random`` or ``hash()`` for anything
that reaches a file.

The mixing function is Pelle Evensen's "moremur", a bijection on 64 bits with better avalanche
than the murmur3 finaliser (https://mostlymangling.blogspot.com/2019/12/).
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import ArrayLike, NDArray

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MULTIPLY_1 = np.uint64(0x3C79AC492BA7B653)
_MULTIPLY_2 = np.uint64(0x1C69B3F74AC4AE35)
_SHIFT_27 = np.uint64(27)
_SHIFT_33 = np.uint64(33)
# Numbers scrambled at a time: they and as many scratch numbers (256 KiB) stay in the L2 cache.
_CHUNK = 16384


def _mix_in_place(bits: NDArray[np.uint64]) -> None:
    """``mix`` on a C-contiguous array with at least one dimension, without another of its size."""
    flat = bits.reshape(-1)
    scratch = np.empty(min(flat.size, _CHUNK), np.uint64)
    for start in range(0, flat.size, _CHUNK):
        chunk = flat[start : start + _CHUNK]
        shifted = scratch[: chunk.size]
        chunk ^= np.right_shift(chunk, _SHIFT_27, out=shifted)
        chunk *= _MULTIPLY_1
        chunk ^= np.right_shift(chunk, _SHIFT_33, out=shifted)
        chunk *= _MULTIPLY_2
        chunk ^= np.right_shift(chunk, _SHIFT_27, out=shifted)


def mix(bits: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Scrambles each 64-bit number; a bijection. Returns a new uint64 array of the same shape."""
    mixed = np.array(bits, np.uint64, order="C", ndmin=1)
    _mix_in_place(mixed)
    return mixed.reshape(np.shape(bits))


def as_uint64(values: ArrayLike) -> NDArray[np.uint64]:
    """Integers of any kind (also Python's, also negative ones) as uint64 modulo 2**64."""
    if isinstance(values, int):
        return np.array(values & 0xFFFFFFFFFFFFFFFF, np.uint64)
    array = np.asarray(values)
    if array.dtype.kind not in "iub":
        raise TypeError(f"keys must be integers, not {array.dtype}")
    return array.astype(np.uint64, copy=False)


def fold(key: ArrayLike, *parts: ArrayLike) -> NDArray[np.uint64]:
    """Derives new keys (or draws: the same thing) from a key and integers, one after the other.

    Every argument may be a scalar or an array; they broadcast. ``fold(k, a, b)`` equals
    ``fold(fold(k, a), b)`` and differs from ``fold(k, b, a)``. Returns uint64 of the broadcast
    shape.
    """
    bits = np.atleast_1d(as_uint64(key))
    shape = np.broadcast_shapes(np.shape(key), *(np.shape(part) for part in parts))
    for part in parts:
        bits = fold_scrambled(bits, scramble(part))
    return bits.reshape(shape)


def scramble(part: ArrayLike) -> NDArray[np.uint64]:
    """The half of ``fold`` that depends on the part alone, for parts that many keys share.

    ``fold(key, part)`` equals ``fold_scrambled(key, scramble(part))``; so a table
    ``scramble(np.arange(n))`` serves all keys. Returns uint64, at least one dimension.
    """
    # In C order, because the mixing walks the memory flat. (Bijections: parts stay distinct.)
    bits = np.add(np.atleast_1d(as_uint64(part)), _GOLDEN, order="C")
    _mix_in_place(bits)
    return bits


def fold_scrambled(key: NDArray[np.uint64], scrambled: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The other half of ``fold``; the arguments broadcast. At least one dimension."""
    bits = np.atleast_1d(np.bitwise_xor(key, scrambled, order="C"))
    _mix_in_place(bits)
    return bits


def halves(bits: NDArray[np.uint64]) -> NDArray[np.uint32]:
    """Each 64-bit draw as two independent 32-bit draws, the low half first, on every machine.

    ``bits`` [..., n], C-contiguous; returns uint32 [..., 2n] (a view of the same memory).
    """
    return bits.astype("<u8", copy=False).view("<u4")


def purpose_key(seed: int, purpose: str) -> NDArray[np.uint64]:
    """The root key for one use of randomness under the user's seed: a uint64 scalar array."""
    digest = hashlib.blake2b(purpose.encode(), digest_size=8).digest()
    return fold(np.uint64(int.from_bytes(digest, "little")), seed)


def bernoulli(bits: NDArray[np.uint64], rate: float) -> NDArray[np.bool_]:
    """True with probability ``rate`` (exact at 0 and 1, else to 2**-53) for each draw."""
    return (bits >> np.uint64(11)) < np.uint64(round(rate * (1 << 53)))


def uniform(bits: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Uniform float64 in [0, 1) for each draw."""
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


def below(bits: NDArray[np.uint64], bound: ArrayLike) -> NDArray[np.int64]:
    """Uniform integers in [0, bound) for each draw; ``bound`` to 2**31 (bias < bound / 2**32)."""
    return (((bits >> np.uint64(32)) * as_uint64(bound)) >> np.uint64(32)).astype(np.int64)
