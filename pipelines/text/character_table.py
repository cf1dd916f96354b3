"""What each character becomes in BERT's normalisation, as arrays to look characters up in.

Cleaning, setting ideographs and punctuation apart, stripping accents and lower-casing treat every
character without regard to its neighbours, so one table holds the result of all of these steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pipelines.text import bert_characters


@dataclass(frozen=True)
class CharacterTable:
    """One way of normalising, over all code points.

    Attributes:
      lengths: uint8[0x110000], how many characters a character becomes; 0 where it is dropped.
      replacements: uint32[w, 0x110000], the code points of these, one after the other.
    """

    lengths: NDArray[np.uint8]
    replacements: NDArray[np.uint32]


@lru_cache(maxsize=4)
def character_table(lowercase: bool, strip_accents: bool) -> CharacterTable:
    """The table of one way of normalising, in which ideographs and punctuation are set apart.

    Line feeds stay; other white space becomes blanks.
    """
    apart = bert_characters.apart()
    # What counts is what a character becomes: U+2260 without its accent is "=".
    changed = {
        code: "".join(f" {c} " if apart[ord(c)] else c for c in text)
        for code, text in _fold(lowercase, strip_accents).items()
    }
    width = max(3, *map(len, changed.values())) if changed else 3
    replacements = np.zeros((width, bert_characters.CODE_POINTS), np.uint32)
    replacements[0] = np.arange(bert_characters.CODE_POINTS)
    lengths = np.ones(bert_characters.CODE_POINTS, np.uint8)
    replacements[1, apart] = replacements[0, apart]
    replacements[0, apart] = replacements[2, apart] = ord(" ")
    lengths[apart] = 3
    for code, text in changed.items():
        replacements[: len(text), code] = [ord(c) for c in text]
        lengths[code] = len(text)
    spaces = bert_characters.spaces()
    replacements[0, spaces], lengths[spaces] = ord(" "), 1
    replacements[0, ord("\n")] = ord("\n")
    lengths[bert_characters.dropped()] = 0
    return CharacterTable(lengths, replacements)


def _fold(lowercase: bool, strip_accents: bool) -> dict[int, str]:
    """Each code point that lower-casing and stripping accents change, and into what."""
    folded = dict(bert_characters.lower_case()) if lowercase else {}
    if strip_accents:
        lower, marks = dict(folded), bert_characters.marks()
        folded |= dict.fromkeys(np.flatnonzero(marks).tolist(), "")
        for code, whole in bert_characters.decompositions().items():
            folded[code] = "".join(c for c in whole if not marks[ord(c)]).translate(lower)
    return folded
