"""BERT's normalisation of one text, step by step as the reference does it: the definition.

Clean (drop control characters, make every blank a space), set ideographs apart, strip accents
(decompose, order, drop marks), lower-case: the order and the tables of Hugging Face's
BertNormalizer. ``pipelines.text.normalize_block`` computes the same for many documents at once and is
tested against this.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from itertools import groupby

from pipelines.text import bert_characters


def normalize(text: str, *, lowercase: bool, strip_accents: bool) -> str:
    """The text as BERT sees it before splitting: ``"Zu\\tHÄ中"`` uncased is ``"zu ha 中 "``.

    Punctuation is left in place (``pipelines.text.words.split_words`` separates it). Nothing is special
    about strings such as "[MASK]": in raw text they are a bracket, a word and a bracket.
    """
    text = text.translate(_cleaned())
    if strip_accents:
        text = _order_marks(text.translate(bert_characters.decompositions()))
        text = text.translate(_stripped())
    if lowercase:
        text = text.translate(bert_characters.lower_case())
    return text


def decompose(text: str) -> str:
    """The text without what cleaning drops, decomposed, its marks in canonical order.

    Changes nothing of what ``normalize`` with ``strip_accents`` makes of it.
    """
    dropped = bert_characters.dropped()
    kept = "".join(c for c in text if not dropped[ord(c)])
    return _order_marks(kept.translate(bert_characters.decompositions()))


class PerCharacter(dict[int, str]):
    """A table for ``str.translate`` that computes each character once, when first met."""

    def __init__(self, compute: Callable[[int], str]) -> None:
        super().__init__()
        self._compute = compute

    def __missing__(self, code: int) -> str:
        self[code] = text = self._compute(code)
        return text


@lru_cache(maxsize=1)
def _cleaned() -> PerCharacter:
    dropped, spaces = bert_characters.dropped(), bert_characters.spaces()
    chinese = bert_characters.chinese()

    def clean(code: int) -> str:
        if dropped[code]:
            return ""
        if spaces[code]:
            return " "
        return f" {chr(code)} " if chinese[code] else chr(code)

    return PerCharacter(clean)


@lru_cache(maxsize=1)
def _stripped() -> PerCharacter:
    marks = bert_characters.marks()
    return PerCharacter(lambda code: "" if marks[code] else chr(code))


@lru_cache(maxsize=1)
def staying_marks() -> dict[int, int]:
    """Code points that Unicode orders among themselves and stripping keeps, with their class.

    The order of the others is of no consequence, since they are stripped.
    """
    marks = bert_characters.marks()
    return {c: k for c, k in bert_characters.combining_classes().items() if not marks[c]}


@lru_cache(maxsize=1)
def _staying_characters() -> frozenset[str]:
    return frozenset(map(chr, staying_marks()))


def _order_marks(decomposed: str) -> str:
    """Sorts each run of combining characters by their class (Unicode, section 3.11)."""
    if _staying_characters().isdisjoint(decomposed):
        return decomposed
    classes = bert_characters.combining_classes()

    def combining_class(character: str) -> int:
        return classes.get(ord(character), 0)

    runs = (
        (combines, list(run))
        for combines, run in groupby(decomposed, lambda c: combining_class(c) > 0)
    )
    return "".join(
        "".join(sorted(run, key=combining_class) if combines else run) for combines, run in runs
    )
