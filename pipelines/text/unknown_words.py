"""Words that a vocabulary cannot spell: each is [UNK], and a model learns nothing from it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from pipelines.text.vocabulary import Vocabulary
from pipelines.text.wordpiece import WordIds
from pipelines.text.words import MAX_WORD_CHARACTERS, can_continue, separate_words

# From this share of words on, the user is told how to have fewer.
MUCH_UNKNOWN = 0.001
_SHOWN = 8


def count_words(texts: Iterable[str], *, lowercase: bool, strip_accents: bool) -> Counter[str]:
    """The words of texts, none of which goes on in the next."""
    separated = separate_words("\n".join(texts), lowercase=lowercase, strip_accents=strip_accents)
    return Counter(word for piece in separated for word in piece.split())


def find_unknown(words: Mapping[str, int], vocabulary: Vocabulary) -> Counter[str]:
    """Those of the words that are [UNK], with their counts.

    Fast where most words consist of characters that are pieces, plain and continued.
    """
    index, mark = vocabulary.index, vocabulary.suffix_indicator
    spelled = {c for c in index if len(c) == 1 and (mark + c in index or not can_continue(c))}
    ids = WordIds(vocabulary)
    return Counter(
        {
            word: count
            for word, count in words.items()
            if not (spelled.issuperset(word) and len(word) <= MAX_WORD_CHARACTERS)
            and vocabulary.unk_id in ids[word]
        }
    )


def most_frequent(counts: Mapping[str, int], number: int = _SHOWN) -> dict[str, int]:
    """The few that are shown of many; ties by the word."""
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:number])


def list_words(counts: Mapping[str, int]) -> str:
    """The words with their counts on one line, most frequent first."""
    return ", ".join(f"{word} ({count:,})" for word, count in most_frequent(counts).items())
