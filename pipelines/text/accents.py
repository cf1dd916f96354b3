"""What a word is without accents, as BERT strips them.

Of German it leaves other letters and sometimes another word (``schön`` and ``schon``), of Hangul the
parts of its syllables, of Hindi and Thai no vowel signs.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from pipelines.text import bert_characters


def without_accents(word: str) -> str:
    """The word decomposed and without its marks, in the order of its characters.

    >>> without_accents("Größe")
    'Große'
    >>> len(without_accents("한"))
    3
    """
    return word if word.isascii() else word.translate(_table())


@lru_cache(maxsize=1)
def _table() -> dict[int, str]:
    marks = bert_characters.marks()
    bare = {
        code: "".join(c for c in whole if not marks[ord(c)])
        for code, whole in bert_characters.decompositions().items()
    }
    return bare | dict.fromkeys(np.flatnonzero(marks).tolist(), "")
