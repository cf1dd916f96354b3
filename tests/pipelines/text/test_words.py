"""Words: worked examples, every character, and texts of all kinds as Hugging Face splits them."""

from __future__ import annotations

import gzip
import json
from itertools import islice, product
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.text import words
from pipelines.text.words import can_continue, split_words

MODES = list(product([True, False], repeat=2))
# Every plane with characters, and the ends of the private ones.
CODES = [*range(0xD800), *range(0xE000, 0x40000), *range(0xE0000, 0xE1000), 0xF0000, 0x10FFFD]

HARD = "aB0 .,[]-#'\t\n\r\0\x7f\x85\xa0éßİΣςœ≠Å中豈가각がก"
HARD += (
    "\u0301\u0323\u0345\u0903\u1b44\u302e\U0001d15e\U0001d16d\u200d\xad\u2028\ufffd\ue000🤗㐀𫠠𪜀！"
)
hard_texts = st.text(st.sampled_from(HARD) | st.characters(codec="utf-8"), max_size=60)


def split_as_tokenizers(text: str, lowercase: bool, strip: bool) -> list[str]:
    tokenizers = pytest.importorskip("tokenizers")
    normalizer = tokenizers.normalizers.BertNormalizer(
        lowercase=lowercase, strip_accents=strip, clean_text=True, handle_chinese_chars=True
    )
    splitter = tokenizers.pre_tokenizers.BertPreTokenizer()
    return [word for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text))]


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
    assert split_words("ÉİÀ", lowercase=True, strip_accents=False) == ["éi\u0307à"]
    assert split_words("ÉİÀ", lowercase=False, strip_accents=True) == ["EIA"]


@pytest.mark.parametrize(("lowercase", "strip"), MODES)
def test_every_code_point_is_treated_as_in_tokenizers(lowercase: bool, strip: bool) -> None:
    for i in range(0, len(CODES), 1000):
        text = " ".join(f"A{chr(code)}b" for code in CODES[i : i + 1000])
        ours = split_words(text, lowercase=lowercase, strip_accents=strip)
        assert ours == split_as_tokenizers(text, lowercase, strip), hex(CODES[i])


@settings(deadline=None)
@given(hard_texts, st.sampled_from(MODES), st.sampled_from([1, 7, 1 << 16]))
def test_splits_as_tokenizers_does(text: str, mode: tuple[bool, bool], piece: int) -> None:
    lowercase, strip = mode
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(words, "_PIECE", piece)
        ours = split_words(text, lowercase=lowercase, strip_accents=strip)
    assert ours == split_as_tokenizers(text, lowercase, strip)


@pytest.mark.parametrize("name", [f"multilingual/{name}" for name in ("de", "ja", "ko", "zh")])
def test_articles(data_dir: Path, name: str) -> None:
    with gzip.open(data_dir / f"{name}.jsonl.gz", "rt", encoding="utf-8", newline="\n") as lines:
        text = "\n".join(json.loads(line)["text"] for line in islice(lines, 40))
    assert split_words(text, lowercase=True, strip_accents=True) == split_as_tokenizers(
        text, True, True
    )


def test_a_lone_surrogate_is_a_letter() -> None:
    assert split_words("a\ud800 b", lowercase=True, strip_accents=True) == ["a\ud800", "b"]


def test_what_is_set_apart_continues_no_word() -> None:
    assert [can_continue(character) for character in "aé1가.三！"] == [True] * 4 + [False] * 3
