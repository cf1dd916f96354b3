"""Normalising blocks against normalising one text at a time."""

from __future__ import annotations

import gzip
import json
from functools import lru_cache
from itertools import islice, product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.text import bert_characters, normalize_block
from pipelines.text.normalize import normalize
from pipelines.text.normalize_block import BlockNormalizer
from pipelines.text.utf8 import join_texts
from pipelines.text.words import split_words

MODES = list(product([True, False], repeat=2))
CODES = [*range(0xD800), *range(0xE000, 0x32000), *range(0xE0000, 0xE0200), 0xF0000, 0x10FFFF]
# Marks that stay when accents are stripped, which Unicode may put in another order, among others.
HARD = "aBZ .\n\t\0\x7fßéİ≠Å中豈가각がก"
HARD += "\u0301\u0345\u0323\u1b44\u302e\U0001d15e\U0001d16d\u200d\xad\ue000🤗"
hard_texts = st.lists(st.text(st.sampled_from(HARD) | st.characters(codec="utf-8"), max_size=60))


@lru_cache(maxsize=4)
def _normalizer(lowercase: bool, strip: bool) -> BlockNormalizer:
    return BlockNormalizer(lowercase, strip)


def run(normalizer: BlockNormalizer, texts: list[str]) -> list[str]:
    block = normalizer(*join_texts(texts))
    assert block.offsets[0] == 0
    assert block.offsets[-1] == len(block.text)
    spans = zip(block.offsets[:-1], block.offsets[1:], strict=True)
    return [block.text[start:stop].tobytes().decode() for start, stop in spans]


@pytest.mark.parametrize(("lowercase", "strip"), MODES)
def test_every_code_point(lowercase: bool, strip: bool) -> None:
    texts = [f"A{chr(code)}b" for code in CODES]
    normalizer = BlockNormalizer(lowercase, strip)
    plain = [normalize(text, lowercase=lowercase, strip_accents=strip) for text in texts]
    assert run(normalizer, texts) == plain  # many changes close together
    sparse = [f"The quick brown fox jumps over the lazy dog. {text}" for text in texts[::7]]
    plain = [normalize(text, lowercase=lowercase, strip_accents=strip) for text in sparse]
    assert run(normalizer, sparse) == plain


@pytest.mark.parametrize(("lowercase", "strip"), MODES)
def test_every_code_point_set_apart(lowercase: bool, strip: bool) -> None:
    alone = bert_characters.chinese() | bert_characters.punctuation()
    texts = [f"A{chr(code)}b" for code in CODES]
    for found, text in zip(
        run(BlockNormalizer(lowercase, strip, alone), texts), texts, strict=True
    ):
        assert found.split() == split_words(text, lowercase=lowercase, strip_accents=strip)


@settings(deadline=None)
@given(hard_texts, st.sampled_from(MODES), st.sampled_from([1, 7, 1 << 18]))
def test_equals_one_at_a_time(texts: list[str], mode: tuple[bool, bool], part: int) -> None:
    lowercase, strip = mode
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(normalize_block, "_PART", part)  # so that parts end anywhere
        found = run(_normalizer(lowercase, strip), texts)
    assert found == [normalize(t, lowercase=lowercase, strip_accents=strip) for t in texts]


@pytest.mark.parametrize("name", ["de", "es", "ja", "ko", "zh"])
def test_articles(data_dir: Path, name: str) -> None:
    path = data_dir / "multilingual" / f"{name}.jsonl.gz"
    with gzip.open(path, "rt", encoding="utf-8", newline="\n") as lines:
        texts = [json.loads(line)["text"] for line in islice(lines, 40)]
    plain = [normalize(text, lowercase=True, strip_accents=True) for text in texts]
    assert run(_normalizer(True, True), texts) == plain


@pytest.mark.parametrize("text", [b"a\xff", b"\xe4\xb8", b"\xb8a", b"caf\xc3"])
def test_refuses_what_is_not_utf8(text: bytes) -> None:
    with pytest.raises(ValueError, match="not UTF-8"):
        _normalizer(True, True)(np.frombuffer(text, np.uint8), np.array([0, len(text)]))


@pytest.mark.parametrize("texts", [[], [""], ["", "a", "", ""]])
def test_empty_documents(texts: list[str]) -> None:
    assert run(_normalizer(True, True), texts) == texts


def test_leaves_its_input_alone() -> None:
    text, offsets = join_texts(["Ä B\0", "中"])
    before = text.tobytes()
    for lowercase, strip in MODES:
        _normalizer(lowercase, strip)(text, offsets)
    assert text.tobytes() == before
