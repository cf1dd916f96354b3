"""Tokens as a page shows them: parts of words, with what stood where a mask is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from pipelines.text.vocabulary import SPECIAL_TOKENS

# Before a piece that continues a word: other vocabularies are not trained on.
_CONTINUES = "##"


@dataclass(frozen=True)
class ShownToken:
    """A token as the model saw it; ``target`` is what was there, where it was to be predicted."""

    seen: str
    target: str | None = None

    @property
    def is_masked(self) -> bool:
        """Whether it was to be predicted."""
        return self.target is not None

    @property
    def continues_word(self) -> bool:
        """Whether the token that was there continues the word before it."""
        return self.stood.startswith(_CONTINUES) and self.stood != _CONTINUES

    @property
    def stood(self) -> str:
        """The token that was there."""
        return self.seen if self.target is None else self.target

    @property
    def is_special(self) -> bool:
        """Whether it is no text: [CLS], [SEP], [UNK] …"""
        return self.stood in SPECIAL_TOKENS

    @property
    def text(self) -> str:
        """The token that was there, as part of its word."""
        return self.stood[len(_CONTINUES) :] if self.continues_word else self.stood


Token = TypeVar("Token", bound=ShownToken)


def group_words(tokens: Sequence[Token]) -> list[list[Token]]:
    """The tokens of each word."""
    words: list[list[Token]] = []
    for token in tokens:
        if token.continues_word and words and not words[-1][-1].is_special:
            words[-1].append(token)
        else:
            words.append([token])
    return words
