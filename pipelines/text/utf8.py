"""Texts as UTF-8."""

from __future__ import annotations


def encode_text(text: str) -> bytes:
    """UTF-8, with U+FFFD for a lone surrogate, which JSON can spell and which is no character."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()
