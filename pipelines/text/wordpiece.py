"""WordPiece ids of one text, exact and plain: what every faster path must equal.

Greedy longest match first (Wu et al. 2016, section 4.1; Devlin et al. 2019): from the left of a
word, always take the longest piece that the vocabulary has; a word that cannot be covered, or has
more than ``MAX_WORD_CHARACTERS``, is one [UNK]. The limit is Hugging Face's; Google's is 200.
"""

from __future__ import annotations

from functools import cached_property

from pipelines.text.vocabulary import Vocabulary
from pipelines.text.words import MAX_WORD_CHARACTERS, split_words

_MAX_KNOWN_WORDS = 500_000


def encode_exact(
    text: str, vocabulary: Vocabulary, lowercase: bool, strip_accents: bool
) -> list[int]:
    """The ids of a text, no special tokens: those of Hugging Face for the same vocabulary.

    For many texts make one ``WordIds`` and reuse it.
    """
    known = WordIds(vocabulary)
    words = split_words(text, lowercase=lowercase, strip_accents=strip_accents)
    return [piece for word in words for piece in known[word]]


class WordIds(dict[str, tuple[int, ...]]):
    """The ids of words: a dict that fills itself when asked for a word it does not hold.

    Forgets everything at half a million words, so that its memory is bounded. Threads may share it.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        super().__init__()
        self._vocabulary = vocabulary

    def __missing__(self, word: str) -> tuple[int, ...]:
        if len(self) >= _MAX_KNOWN_WORDS:
            self.clear()
        self[word] = ids = self._split(word)
        return ids

    def __reduce__(self) -> tuple[type[WordIds], tuple[Vocabulary]]:
        return WordIds, (self._vocabulary,)

    @cached_property
    def _longest(self) -> int:
        """Characters of the longest piece, its suffix indicator included."""
        return max(map(len, self._vocabulary.tokens))

    def _split(self, word: str) -> tuple[int, ...]:
        unknown = (self._vocabulary.unk_id,)
        if len(word) > MAX_WORD_CHARACTERS:
            return unknown
        index, mark = self._vocabulary.index, self._vocabulary.suffix_indicator
        ids: list[int] = []
        start = 0
        while start < len(word):
            prefix = mark if start else ""
            for end in range(min(len(word), start + self._longest), start, -1):
                piece = index.get(prefix + word[start:end])
                if piece is not None:
                    break
            else:
                return unknown
            ids.append(piece)
            start = end
        return tuple(ids)
