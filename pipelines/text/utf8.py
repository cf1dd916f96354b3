"""UTF-8 buffers as arrays: many texts end to end, and the characters in them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

# Bytes of the character that a byte begins; 0 for one that continues a character.
_WIDTHS = np.array([1] * 128 + [0] * 64 + [2] * 32 + [3] * 16 + [4] * 16, np.uint8)


def encode_text(text: str) -> bytes:
    """UTF-8, with U+FFFD for a lone surrogate, which is no character."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()


def join_texts(texts: Sequence[str]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Strings end to end in one buffer, uint8[m], and where each begins, int64[n + 1]."""
    encoded = [encode_text(text) for text in texts]
    offsets = np.zeros(len(encoded) + 1, np.int64)
    np.cumsum([len(text) for text in encoded], out=offsets[1:])
    return np.frombuffer(b"".join(encoded), np.uint8), offsets


def find_characters(text: NDArray[np.uint8]) -> NDArray[np.int64]:
    """The places, int64[c], of the bytes of a buffer that begin a character."""
    return np.flatnonzero(text.view(np.int8) >= -64)


def find_wide_and_control(text: NDArray[np.uint8]) -> NDArray[np.int64]:
    """The places, int64[c], of the bytes that begin a character other than U+0020 to U+007E."""
    return np.flatnonzero((text + np.uint8(0x40) < 0x60) | (text == 0x7F))


def decode_characters(
    text: NDArray[np.uint8], starts: NDArray[np.int64]
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Decodes the characters of a buffer that begin at ``starts``, among them all beyond ASCII.

    Returns uint8[c], the bytes of each, and int64[c], the code points.

    Raises:
      ValueError: bytes from 0x80 on are not whole characters, so the buffer is not UTF-8.
    """
    heads = text.take(starts)
    widths = _WIDTHS.take(heads)
    codes = heads.astype(np.int64)
    if np.count_nonzero(text.view(np.int8) < -64) != int(widths.sum(dtype=np.int64)) - len(starts):
        raise ValueError("the text is not UTF-8")
    for width, kept in ((2, 0x1F), (3, 0x0F), (4, 0x07)):
        some = np.flatnonzero(widths == width)
        if not len(some):
            continue
        places = starts[some]
        value = codes[some] & kept
        for _ in range(1, width):
            places += 1
            value <<= 6
            value |= text.take(places, mode="clip") & 0x3F
        codes[some] = value
    return widths, codes


def encode_characters() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Every code point in UTF-8: uint8[0x110000, 4], the bytes, and uint8[0x110000], how many."""
    codes = np.arange(0x110000, dtype=np.uint32)
    lengths = (1 + (codes >= 0x80) + (codes >= 0x800) + (codes >= 0x10000)).astype(np.uint8)
    rows = np.zeros((len(codes), 4), np.uint8)
    for length, mark in ((1, 0), (2, 0xC0), (3, 0xE0), (4, 0xF0)):
        some = np.flatnonzero(lengths == length)
        for j in range(length):
            bits = codes[some] >> np.uint32(6 * (length - 1 - j))
            rows[some, j] = bits | mark if j == 0 else bits & 0x3F | 0x80
    return rows, lengths
