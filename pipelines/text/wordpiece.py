"""WordPiece ids of one text, exact and plain: what every faster path must equal.

Greedy longest match first (Wu et al. 2016, section 4.1; Devlin et al. 2019): from the left of a
word, always take the longest piece that the vocabulary has; a word that cannot be covered, or has
more than ``MAX_WORD_CHARACTERS``, is one [UNK]. The limit is Hugging Face's; Google's is 200.
"""

from __future__ import annotations

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
        unknown = (self._vocabulary.unk_id,)
        ids: tuple[int, ...] = unknown
        if len(word) <= MAX_WORD_CHARACTERS:
            ids = split_word(word, self._vocabulary, unknown)
        self[word] = ids
        return ids

    def __reduce__(self) -> tuple[type[WordIds], tuple[Vocabulary]]:
        return WordIds, (self._vocabulary,)


def split_word(word: str, vocabulary: Vocabulary, unknown: tuple[int]) -> tuple[int, ...]:
    """The ids of the pieces of a word, longest first; ``unknown`` where they cannot cover it."""
    index, mark, longest = vocabulary.index, vocabulary.suffix_indicator, vocabulary.longest
    ids: list[int] = []
    start = 0
    while start < len(word):
        prefix = mark if start else ""
        for end in range(min(len(word), start + longest), start, -1):
            piece = index.get(prefix + word[start:end])
            if piece is not None:
                break
        else:
            return unknown
        ids.append(piece)
        start = end
    return tuple(ids)
