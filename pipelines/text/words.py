"""Words of text: normalised, then split at spaces and around punctuation, as BERT does.

What the tokenizer looks up and what the vocabulary is learned from are the same words because both
come from here.
"""

from __future__ import annotations

from collections import Counter
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pipelines.text import bert_characters
from pipelines.text.character_table import SPACE
from pipelines.text.normalize import PerCharacter, normalize
from pipelines.text.normalize_block import BlockNormalizer
from pipelines.text.utf8 import join_texts

MAX_WORD_CHARACTERS = 100


def split_words(text: str, *, lowercase: bool, strip_accents: bool) -> list[str]:
    """The words of a text: ``"It's [MASK]!"`` uncased is ``it ' s [ mask ] !``, seven words."""
    return split_normalized(normalize(text, lowercase=lowercase, strip_accents=strip_accents))


def split_normalized(text: str) -> list[str]:
    """The words of a text that ``normalize`` has been applied to."""
    return text.translate(_set_apart()).split()


@lru_cache(maxsize=1)
def _set_apart() -> PerCharacter:
    alone = _stands_alone()
    return PerCharacter(lambda code: f" {chr(code)} " if alone[code] else chr(code))


def count_words(
    texts: list[str], *, lowercase: bool, strip_accents: bool
) -> tuple[list[str], NDArray[np.int64]]:
    """The distinct words of texts and how often each occurs (int64), in order of the words.

    Words over ``MAX_WORD_CHARACTERS`` are left out: whatever the vocabulary, they are one [UNK].
    """
    return count_block_words(*join_texts(texts), lowercase=lowercase, strip_accents=strip_accents)


def count_block_words(
    text: NDArray[np.uint8], offsets: NDArray[np.int64], *, lowercase: bool, strip_accents: bool
) -> tuple[list[str], NDArray[np.int64]]:
    """``count_words`` of the documents ``text[offsets[i]:offsets[i + 1]]`` of a UTF-8 buffer."""
    separated = separate_words(text, offsets, lowercase=lowercase, strip_accents=strip_accents)
    counts = Counter(separated.split())
    words = sorted(word for word in counts if not is_too_long(word))
    return [word.decode() for word in words], np.array([counts[word] for word in words], np.int64)


def separate_words(
    text: NDArray[np.uint8], offsets: NDArray[np.int64], *, lowercase: bool, strip_accents: bool
) -> bytes:
    """The words of documents in a UTF-8 buffer, in order, apart by spaces (``.split()`` them)."""
    block = _separator(lowercase, strip_accents)(text, offsets)
    ends = block.offsets[1:-1]  # a word does not go on in the next document
    return np.insert(block.text, ends, SPACE).tobytes()


def is_too_long(word: bytes) -> bool:
    """True for a word over ``MAX_WORD_CHARACTERS``: whatever the vocabulary, it is one [UNK]."""
    return len(word) > MAX_WORD_CHARACTERS and len(word.decode()) > MAX_WORD_CHARACTERS


def can_continue(character: str) -> bool:
    """False for a character that is always a word of its own: punctuation and ideographs."""
    return not _stands_alone()[ord(character)]


@lru_cache(maxsize=1)
def _stands_alone() -> NDArray[np.bool_]:
    """bool[0x110000]: what ends a word in normalised text."""
    mask = bert_characters.chinese() | bert_characters.punctuation()
    mask[SPACE] = True
    return mask


@lru_cache(maxsize=4)
def _separator(lowercase: bool, strip_accents: bool) -> BlockNormalizer:
    apart = bert_characters.chinese() | bert_characters.punctuation()
    return BlockNormalizer(lowercase, strip_accents, apart)
