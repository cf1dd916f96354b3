"""Words of text: normalised, then split at spaces and around punctuation, as BERT does.

What the tokenizer looks up and what the vocabulary is learned from are the same words because both
come from here. A text is an array of code points, each of which is replaced by what the table says:
no work is done a character at a time in Python, and numpy lets other threads run.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from pipelines.text import bert_characters
from pipelines.text.character_table import CharacterTable, character_table
from pipelines.text.order_marks import may_move, order_marks

MAX_WORD_CHARACTERS = 100

_PIECE = 1 << 16  # characters worked on at a time: temporary arrays stay in the cache
_BLANK = re.compile("[ \n]")


def split_words(text: str, *, lowercase: bool, strip_accents: bool) -> list[str]:
    """The words of a text: ``"It's [MASK]!"`` uncased is ``it ' s [ mask ] !``, seven words.

    Nothing is special about strings such as "[MASK]": in raw text they are a bracket, a word and a
    bracket.
    """
    separated = separate_words(text, lowercase=lowercase, strip_accents=strip_accents)
    return [word for piece in separated for word in piece.split()]


def separate_words(text: str, *, lowercase: bool, strip_accents: bool) -> Iterator[str]:
    """The words of a text in their order, some thousands at a time, with blanks between them, and line
    feeds where the text has them."""
    table = character_table(lowercase, strip_accents)
    for piece in _cut_at_blanks(text):
        codes = _code_points(piece)
        if strip_accents and not piece.isascii() and may_move().take(codes).any():
            codes = _code_points(order_marks(piece))
        yield _replace(codes, table)


def can_continue(character: str) -> bool:
    """False for a character that is always a word of its own: punctuation and ideographs."""
    return not bert_characters.apart()[ord(character)]


def _cut_at_blanks(text: str) -> Iterator[str]:
    """Pieces of a text, none of which depends on another."""
    start = 0
    while start < len(text):
        blank = _BLANK.search(text, start + _PIECE)
        stop = blank.start() if blank else len(text)
        yield text[start:stop]
        start = stop


def _code_points(text: str) -> np.ndarray:
    """The characters of a text, intp[n]."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32).astype(np.intp)


def _replace(codes: np.ndarray, table: CharacterTable) -> str:
    """The text of what these code points become."""
    lengths = table.lengths.take(codes)
    result = np.repeat(table.replacements[0].take(codes), lengths)
    # What becomes no character, or several: where it begins in the result, and all but its first.
    others = np.flatnonzero(lengths != 1)
    codes, lengths = codes[others], lengths[others]
    growth = lengths.astype(np.intp) - 1
    begins = others + np.cumsum(growth) - growth
    for i in range(1, int(lengths.max(initial=0))):
        reached = lengths > i
        result[begins[reached] + i] = table.replacements[i].take(codes[reached])
    return result.tobytes().decode("utf-32-le", "surrogatepass")
