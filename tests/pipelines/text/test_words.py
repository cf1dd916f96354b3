"""Words: worked examples, and counting many at once against splitting one by one."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.text.normalize import normalize
from pipelines.text.utf8 import join_texts
from pipelines.text.words import (
    MAX_WORD_CHARACTERS,
    count_block_words,
    count_words,
    split_words,
)

HARD = "aB0 .,[]-#'\t\n\r\0\x7f\x85\xa0éßİΣςœ≠Å中豈가각がก"
HARD += "\u0301\u0345\u0903\u1b44\u302e\u200d\xad\u2028\ufffd\ue000🤗㐀𫠠𪜀！"
hard_texts = st.lists(st.text(st.sampled_from(HARD) | st.characters(codec="utf-8"), max_size=40))


@pytest.mark.parametrize(
    ("text", "uncased", "cased"),
    [
        ("", "", ""),
        ("It's [MASK]!", "it ' s [ mask ] !", "It ' s [ MASK ] !"),
        ("naïve Ångström", "naive angstrom", "naïve Ångström"),
        ("ΟΔΟΣ ὈΔΥΣΣΕΎΣ", "οδοσ οδυσσευσ", "ΟΔΟΣ ὈΔΥΣΣΕΎΣ"),
        ("Straße İstanbul", "straße istanbul", "Straße İstanbul"),
        ("中文abc豈", "中 文 abc 豈", "中 文 abc 豈"),
        ("가각", "\u1100\u1161\u1100\u1161\u11a8", "가각"),
        ("\u1100\u1161\u11a8", "\u1100\u1161\u11a8", "\u1100\u1161\u11a8"),
        ("a\tb\nc\rd\u2028e\u3000f\xa0g", "a b c d e f g", "a b c d e f g"),
        ("a\0b\x85c\u200dd\xade\ufffdf\ue000g", "abcdefg", "abcdefg"),
        ("\u0301x e\u0301", "x e", "\u0301x e\u0301"),
        ("1≠2", "1 = 2", "1≠2"),
        ("𫠠a𪜀b", "𫠠a 𪜀 b", "𫠠a 𪜀 b"),
        ("👩\u200d👧", "👩👧", "👩👧"),
        ("x\u302e\u1b44", "x\u1b44\u302e", "x\u302e\u1b44"),
    ],
)
def test_splits_by_hand(text: str, uncased: str, cased: str) -> None:
    assert split_words(text, lowercase=True, strip_accents=True) == uncased.split(" ") * bool(text)
    assert split_words(text, lowercase=False, strip_accents=False) == cased.split(" ") * bool(text)


def test_lower_case_and_accents_are_independent() -> None:
    assert normalize("ÉİÀ", lowercase=True, strip_accents=False) == "éi\u0307à"
    assert normalize("ÉİÀ", lowercase=False, strip_accents=True) == "EIA"


@settings(deadline=None)
@given(hard_texts, st.booleans(), st.booleans())
def test_splits_as_tokenizers_does(texts: list[str], lowercase: bool, strip: bool) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    normalizer = tokenizers.normalizers.BertNormalizer(
        lowercase=lowercase, strip_accents=strip, clean_text=True, handle_chinese_chars=True
    )
    splitter = tokenizers.pre_tokenizers.BertPreTokenizer()
    for text in texts:
        theirs = [w for w, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text))]
        assert split_words(text, lowercase=lowercase, strip_accents=strip) == theirs


def _count_plainly(texts: list[str], lowercase: bool, strip: bool) -> dict[str, int]:
    words = (w for t in texts for w in split_words(t, lowercase=lowercase, strip_accents=strip))
    return Counter(word for word in words if len(word) <= MAX_WORD_CHARACTERS)


@settings(deadline=None)
@given(hard_texts, st.booleans(), st.booleans())
def test_counting_equals_splitting(texts: list[str], lowercase: bool, strip: bool) -> None:
    words, counts = count_words(texts, lowercase=lowercase, strip_accents=strip)
    assert counts.dtype == np.int64
    assert words == sorted(words)
    assert dict(zip(words, counts.tolist(), strict=True)) == _count_plainly(texts, lowercase, strip)


@pytest.mark.parametrize(
    "name", ["wiki_en/wiki-00000-of-00004", "multilingual/zh", "multilingual/ko"]
)
def test_counting_equals_splitting_on_articles(data_dir: Path, name: str) -> None:
    with gzip.open(data_dir / f"{name}.jsonl.gz", "rt", encoding="utf-8", newline="\n") as lines:
        texts = [json.loads(line)["text"] for line in islice(lines, 60)]
    words, counts = count_words(texts, lowercase=True, strip_accents=True)
    assert dict(zip(words, counts.tolist(), strict=True)) == _count_plainly(texts, True, True)


def test_a_word_ends_with_its_document() -> None:
    words, counts = count_words(["one", "two", "", "One"], lowercase=True, strip_accents=True)
    assert (words, counts.tolist()) == (["one", "two"], [2, 1])


def test_words_are_counted_up_to_the_limit_in_characters() -> None:
    texts = ["é" * 100, "é" * 101, "x" * 100 + " " + "x" * 101]
    words, _ = count_words(texts, lowercase=False, strip_accents=False)
    assert words == ["x" * 100, "é" * 100]


def test_counts_a_slice_of_a_buffer() -> None:
    text, offsets = join_texts(["left out", "a b", "b"])
    words, counts = count_block_words(
        text[offsets[1] :], offsets[1:] - offsets[1], lowercase=True, strip_accents=True
    )
    assert (words, counts.tolist()) == (["a", "b"], [1, 2])
