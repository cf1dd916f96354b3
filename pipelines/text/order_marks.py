"""Unicode's canonical order of combining marks, as far as it shows once accents are stripped.

Stripping removes nearly all marks, so that their order is of no consequence; what stays are spacing
marks and those newer than BERT's tables, in scripts such as Balinese.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from pipelines.text import bert_characters


@lru_cache(maxsize=1)
def may_move() -> NDArray[np.bool_]:
    """bool[0x110000]: characters with a mark that stays in stripped text and may have to move."""
    mask = bert_characters.staying_marks().copy()
    for code, whole in bert_characters.decompositions().items():
        mask[code] = any(mask[ord(c)] for c in whole)
    return mask


def order_marks(text: str) -> str:
    """The text cleaned of dropped characters and decomposed, its marks in canonical order."""
    dropped, classes = bert_characters.dropped(), bert_characters.combining_classes()

    def combining_class(character: str) -> int:
        return classes.get(ord(character), 0)

    kept = "".join(c for c in text if not dropped[ord(c)])
    decomposed = kept.translate(bert_characters.decompositions())
    # Unicode, section 3.11: each run of marks is sorted by class.
    runs = groupby(decomposed, lambda character: combining_class(character) > 0)
    return "".join(
        "".join(sorted(run, key=combining_class) if is_marks else run) for is_marks, run in runs
    )
