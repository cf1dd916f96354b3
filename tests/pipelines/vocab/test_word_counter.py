"""Words counted by what stands between white space are the words of the plain splitter."""

from __future__ import annotations

from collections import Counter

import hypothesis.strategies as st
import pytest
from hypothesis import given

from pipelines.documents.blocks import make_block
from pipelines.text.words import split_words
from pipelines.vocab import word_counter
from pipelines.vocab.config import VocabConfig

_TEXT = st.text(st.one_of(st.characters(exclude_categories=["Cs"]), st.sampled_from("aA .,\n\t\r")))
# Vertical tabs and form feeds are dropped, as other controls are; separators of Unicode are white space.
_TRAPS = [
    "a\x0bb\x0cc\x00d",
    "a\u2028b\x85c\u3000d\xa0e",
    "\n\n a  b\r\n",
    "",
    "\u0301 e\u0301",
    "中文x中",
]


def _count(texts: list[str], lowercase: bool, strip_accents: bool) -> Counter[bytes]:
    config = VocabConfig(output="-", lowercase=lowercase, strip_accents=strip_accents)
    counter = word_counter.WordCounter(config)
    for text in texts:
        block = make_block([text.encode(), b"", text.encode()])
        counter.add(block.text, block.offsets)
    return counter.take()


@given(st.lists(_TEXT, max_size=4), st.booleans(), st.booleans(), st.sampled_from([1, 1 << 25]))
def test_equals_the_plain_splitter(
    texts: list[str], lowercase: bool, strip_accents: bool, part: int
) -> None:
    texts = [*texts, *_TRAPS]
    expected = Counter[bytes]()
    for text in texts:
        for word in split_words(text, lowercase=lowercase, strip_accents=strip_accents):
            expected[word.encode()] += 2
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(word_counter, "COUNTED_BYTES", part)
        assert _count(texts, lowercase, strip_accents) == expected


def test_taken_once() -> None:
    counter = word_counter.WordCounter(VocabConfig(output="-"))
    block = make_block([b"one two one"])
    counter.add(block.text, block.offsets)
    assert counter.take() == {b"one": 2, b"two": 1}
    assert counter.take() == {}
