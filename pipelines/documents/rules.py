"""The rules that decide by its text alone whether a document is kept, each off by default."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pipelines.documents.config import InputFormat
from pipelines.documents.language import load_detector


def load_rules(options: InputFormat) -> Callable[[bytes], str | None] | None:
    """A function of UTF-8 text that gives None to keep it, else the reason; None where all is kept."""
    longest, letters = options.max_characters, options.min_letters
    repeated = options.max_repeated_lines
    is_wanted = load_detector(options.languages) if options.languages else None
    if not (options.min_characters or longest or letters or repeated < 1 or is_wanted):
        return None

    def judge(document: bytes) -> str | None:
        text = document.decode()
        if len(text) < options.min_characters:
            return "few_characters"
        if longest and len(text) > longest:
            return "many_characters"
        if letters and share_of_letters(text) < letters:
            return "few_letters"
        if repeated < 1 and share_of_repeated_lines(text) > repeated:
            return "repeated_lines"
        if is_wanted and not is_wanted(text):
            return "language"
        return None

    return judge


def share_of_letters(text: str) -> float:
    """The share of letters and marks among the characters that are not white space.

    >>> share_of_letters("ab 12")
    0.5
    """
    counts = np.bincount(_kinds()[np.frombuffer(text.encode("utf-32-le"), "<u4")], minlength=3)
    return float(counts[1] / max(1, counts[0] + counts[1]))


def share_of_repeated_lines(text: str) -> float:
    """The share of the characters in lines that stood before, among those in all lines with text.

    >>> share_of_repeated_lines("a\\n\\na\\nbb")
    0.25
    """
    lines = [stripped for line in text.split("\n") if (stripped := line.strip())]
    total = sum(map(len, lines))
    return (total - sum(map(len, {*lines}))) / max(1, total)


@lru_cache(maxsize=1)
def _kinds() -> NDArray[np.uint8]:
    """uint8[0x110000]: 1 for a letter or mark, 2 for white space, else 0."""
    kinds = np.zeros(0x110000, np.uint8)
    for code in range(len(kinds)):
        character = chr(code)
        if unicodedata.category(character)[0] in "LM":
            kinds[code] = 1
        elif character.isspace():
            kinds[code] = 2
    return kinds
