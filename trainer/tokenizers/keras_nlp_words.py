"""Words as KerasNLP's ``WordPieceTokenizer`` finds them, which is not quite as BERT does.

Lower-casing is Unicode's NFKC_Casefold, and controls and format characters are spaces.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache


def find_words(
    text: str,
    *,
    lowercase: bool,
    strip_accents: bool,
    split: bool,
    split_on_cjk: bool,
    marked: tuple[str, ...] = (),
) -> list[str]:
    """The words of a text; the tokens ``marked`` stand for themselves."""
    if strip_accents:
        decomposed = unicodedata.normalize("NFD", text)
        text = "".join(c for c in decomposed if unicodedata.category(c) != "Mn")
    words: list[str] = []
    for part in split_at_tokens(text, marked):
        if part in marked:
            words.append(part)
        else:
            pieces = _split(part, split_on_cjk) if split else [part]
            words += map(_fold_case, pieces) if lowercase else pieces
    return words


def split_at_tokens(text: str, marked: tuple[str, ...]) -> list[str]:
    """The tokens ``marked`` in a text and, in turn, what stands between them."""
    if not marked:
        return [text]
    return re.split("(" + "|".join(map(re.escape, marked)) + ")", text)


def length_in_bytes(word: str) -> int:
    """What KerasNLP limits to 100, where BERT limits characters."""
    return len(word.encode("utf-8", errors="replace"))


def _split(text: str, split_on_cjk: bool) -> list[str]:
    words = []
    current = ""
    for character in text:
        kind = _kind(character, split_on_cjk)
        if kind == "word":
            current += character
            continue
        if current:
            words.append(current)
            current = ""
        if kind == "apart":
            words.append(character)
    return [*words, current] if current else words


@lru_cache(maxsize=1 << 16)
def _kind(character: str, split_on_cjk: bool) -> str:
    """ "space" is dropped, "apart" is a word of its own, "word" belongs to a word."""
    if character in " \t\n\r\f" or unicodedata.category(character) in ("Cc", "Cf"):
        return "space"
    code = ord(character)
    if character.isascii():
        return "word" if character.isalnum() else "apart"
    if unicodedata.category(character).startswith("P"):
        return "apart"
    is_cjk = any(low <= code <= high for low, high in _CJK_BLOCKS)
    return "apart" if split_on_cjk and is_cjk else "word"


# The blocks of google-research/bert's tokenization.py, its last one as written there.
_CJK_BLOCKS = (
    (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B820, 0x2CEAF),
    (0xF900, 0xFAFF),
    (0x2F800, 0x2FA1F),
)


# Default_Ignorable_Code_Point of Unicode's DerivedCoreProperties: NFKC_Casefold drops them.
_IGNORABLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f"
    "\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\U000e0000-\U000e0fff]"
)


@lru_cache(maxsize=100_000)
def _fold_case(word: str) -> str:
    """Unicode's NFKC_Casefold."""
    if word.isascii():
        return word.lower()
    folded = unicodedata.normalize("NFKC", word).casefold()
    return _IGNORABLE.sub("", unicodedata.normalize("NFKC", folded))
