"""WordPiece ids of words, exact and plain: what every faster path must equal.

Greedy longest match first (Wu et al. 2016, section 4.1; Devlin et al. 2019): from the left of a
word, always take the longest piece that the vocabulary has; a word that cannot be covered, or has
more than ``MAX_WORD_CHARACTERS``, is one [UNK]. The limit is Hugging Face's; Google's is 200.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pipelines.text.vocabulary import UNK, Vocabulary
from pipelines.text.words import MAX_WORD_CHARACTERS

_MAX_KNOWN_WORDS = 500_000


class WordIds(dict[str, tuple[int, ...]]):
    """The ids of words: a dict that fills itself when asked for a word it does not hold.

    Forgets everything at half a million words, so that its memory is bounded. Threads may share it.

    Args:
      unknown: the piece for words that cannot be split.
      length: what ``MAX_WORD_CHARACTERS`` limits, by default the number of characters.
    """

    def __init__(
        self, vocabulary: Vocabulary, unknown: str = UNK, length: Callable[[str], int] = len
    ) -> None:
        super().__init__()
        self._arguments = vocabulary, unknown, length
        self._unknown = (vocabulary.id_of(unknown),)

    def __missing__(self, word: str) -> tuple[int, ...]:
        if len(self) >= _MAX_KNOWN_WORDS:
            self.clear()
        vocabulary, _, length = self._arguments
        pieces = split_word(word, vocabulary) if length(word) <= MAX_WORD_CHARACTERS else None
        ids = self[word] = self._unknown if pieces is None else pieces
        return ids

    def __reduce__(self) -> tuple[type[WordIds], tuple[Any, ...]]:
        return WordIds, self._arguments


def split_word(
    word: str, vocabulary: Vocabulary, *, continues: bool = False
) -> tuple[int, ...] | None:
    """The ids of the pieces of a word, longest first; None where they cannot cover it.

    ``continues``: it is what is left of a word, so its first piece continues it too.
    """
    index, mark, longest = vocabulary.index, vocabulary.suffix_indicator, vocabulary.longest
    ids: list[int] = []
    start = 0
    while start < len(word):
        prefix = mark if start or continues else ""
        for end in range(min(len(word), start + longest), start, -1):
            piece = index.get(prefix + word[start:end])
            if piece is not None:
                break
        else:
            return None
        ids.append(piece)
        start = end
    return tuple(ids)
