"""Large arrays get memory of their own, which the system has back as soon as they are freed.

glibc does so at first, but each such array that is freed raises the size from which on it does, up to
32 MB; what is smaller shares its memory with small objects, which keep it from being given back.
Figures: docs/benchmarks.md, tokenizing.
"""

from __future__ import annotations

import ctypes

_M_MMAP_THRESHOLD = -3  # in malloc.h
_LARGE_BYTES = 1 << 20


def give_back_large_arrays() -> None:
    """From now on, in this process; does nothing where the C library is another."""
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
