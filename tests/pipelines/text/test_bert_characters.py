"""The pinned character tables against the tokenizer they are pinned to, and against change."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from pipelines.text import bert_characters
from pipelines.text.normalize import normalize

# Every plane with characters, and the ends of the private ones.
CODES = [*range(0xD800), *range(0xE000, 0x40000), *range(0xE0000, 0xE1000), 0xF0000, 0x10FFFD]


@pytest.mark.parametrize("lowercase", [True, False])
@pytest.mark.parametrize("strip_accents", [True, False])
def test_every_code_point_normalises_as_in_tokenizers(lowercase: bool, strip_accents: bool) -> None:
    normalizers = pytest.importorskip("tokenizers.normalizers")
    theirs = normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=True,
        strip_accents=strip_accents,
        lowercase=lowercase,
    )
    for i in range(0, len(CODES), 1000):
        text = " ".join(f"a{chr(code)}b" for code in CODES[i : i + 1000])
        ours = normalize(text, lowercase=lowercase, strip_accents=strip_accents)
        assert ours == theirs.normalize_str(text), hex(CODES[i])


def test_every_code_point_is_punctuation_as_in_tokenizers() -> None:
    splitter = pytest.importorskip("tokenizers.pre_tokenizers").BertPreTokenizer()
    gone = bert_characters.dropped() | bert_characters.spaces()
    codes = [code for code in CODES if not gone[code]]
    punctuation = bert_characters.punctuation()
    expected = [
        word for c in codes for word in (["a", chr(c), "b"] if punctuation[c] else [f"a{chr(c)}b"])
    ]
    found: list[str] = []
    for i in range(0, len(codes), 1000):
        text = " ".join(f"a{chr(code)}b" for code in codes[i : i + 1000])
        found += [word for word, _ in splitter.pre_tokenize_str(text)]
    assert found == expected


def test_tables_are_the_same_under_every_python() -> None:
    digest = hashlib.sha256()
    for mask in (
        bert_characters.dropped(),
        bert_characters.spaces(),
        bert_characters.chinese(),
        bert_characters.punctuation(),
        bert_characters.marks(),
    ):
        digest.update(np.packbits(mask).tobytes())
    for table in (
        bert_characters.decompositions(),
        bert_characters.combining_classes(),
        bert_characters.lower_case(),
    ):
        digest.update(ascii(sorted(table.items())).encode())
    assert digest.hexdigest() == (
        "dad5ffd9fc40083d721042fcbfb818aa0cd3a89df62b7b4caace8a22637c13ef"
    )


def test_ideographs_decompose_to_ideographs() -> None:
    """So setting them apart before or after decomposition is the same."""
    chinese = bert_characters.chinese()
    for code, text in bert_characters.decompositions().items():
        assert chinese[code] == chinese[ord(text[0])], hex(code)
