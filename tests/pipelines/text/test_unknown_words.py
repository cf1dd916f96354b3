"""Which words a vocabulary does not know: those that the plain reference gives as [UNK]."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipelines.text.unknown_words import find_unknown, list_words
from pipelines.text.vocabulary import SPECIAL_TOKENS, Vocabulary
from pipelines.text.wordpiece import split_word

PIECES = ["a", "##a", "b", "##bc", "ab", "漢", ".", "##d", "ee"]
WORDS = st.one_of(
    st.text("abcde", min_size=1, max_size=5),
    st.sampled_from(["漢", "字", ".", ",", "a" * 100, "a" * 101]),
)


@given(st.dictionaries(WORDS, st.integers(1, 9)), st.sampled_from(["##", "@@"]))
def test_unknown_words_are_those_of_the_reference(words, mark):
    pieces = [piece.replace("##", mark) for piece in PIECES]
    vocabulary = Vocabulary((*SPECIAL_TOKENS, *pieces), mark)
    expected = {
        word: count
        for word, count in words.items()
        if len(word) > 100 or split_word(word, vocabulary) is None
    }
    assert find_unknown(words, vocabulary) == expected


def test_few_are_listed_the_most_frequent_first_and_ties_by_the_word():
    counts = {"c": 1, "b": 1, "z": 2_000} | {f"x{i}": 1 for i in range(20)}
    assert list_words(counts).startswith("z (2,000), b (1), c (1), x0 (1)")
    assert list_words(counts).count("(") == 8
