"""Exact ids: by hand, against google-research/bert's own, and against Hugging Face."""

from __future__ import annotations

import gzip
import json
import pickle
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.text import wordpiece
from pipelines.text.vocabulary import Vocabulary
from pipelines.text.wordpiece import WordIds
from pipelines.text.words import split_words


def encode_exact(
    text: str, vocabulary: Vocabulary, lowercase: bool, strip_accents: bool
) -> list[int]:
    known = WordIds(vocabulary)
    words = split_words(text, lowercase=lowercase, strip_accents=strip_accents)
    return [piece for word in words for piece in known[word]]


SMALL = Vocabulary(
    ("[UNK]", "[MASK]", "un", "##aff", "##able", "##a", "a", "##b", "[", "]", "mask")
)


def read_reference(data_dir: Path, name: str) -> list[tuple[str, list[int]]]:
    """The reference strings with Hugging Face's ids, which are Google's where not given."""
    path = data_dir / "tokenizer" / "bert_reference_ids.jsonl.gz"
    with gzip.open(path, "rt", encoding="utf-8", newline="\n") as lines:
        rows = [json.loads(line) for line in lines]
    return [
        (row["text"], row[f"google_{name}" if row[f"hf_{name}"] is None else f"hf_{name}"])
        for row in rows
    ]


def hugging_face(vocabulary: Vocabulary, lowercase: bool, strip: bool) -> Any:
    """The same tokenizer made of Hugging Face's parts, special pieces being plain text in it."""
    tokenizers = pytest.importorskip("tokenizers")
    model = tokenizers.models.WordPiece(
        vocabulary.index, unk_token="[UNK]", max_input_chars_per_word=100
    )
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.normalizer = tokenizers.normalizers.BertNormalizer(
        lowercase=lowercase, strip_accents=strip
    )
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    return tokenizer


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("unaffable", ["un", "##aff", "##able"]),
        ("UNAFFABLE a", ["un", "##aff", "##able", "a"]),
        ("unb unc", ["un", "##b", "[UNK]"]),
        ("b", ["[UNK]"]),  # "##b" continues words, it begins none
        ("[MASK]", ["[", "mask", "]"]),
        ("a" * 100, ["a"] + ["##a"] * 99),
        ("a" * 101 + " a", ["[UNK]", "a"]),
        ("", []),
    ],
)
def test_by_hand(text: str, pieces: list[str]) -> None:
    assert SMALL.decode(encode_exact(text, SMALL, True, True)) == pieces


def test_the_longest_piece_wins_even_where_it_leads_nowhere() -> None:
    vocabulary = Vocabulary(("[UNK]", "ab", "a", "##bc"))
    assert encode_exact("abc", vocabulary, True, True) == [0]


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("uncased", "bert-base-uncased"),
        ("cased", "bert-base-cased"),
        ("multi_cased", "bert-base-multilingual-cased"),
    ],
)
def test_reference_ids(data_dir: Path, name: str, file: str) -> None:
    vocabulary = Vocabulary.load(data_dir / "vocab" / f"{file}-vocab.txt")
    known = WordIds(vocabulary)
    lower = name == "uncased"
    reference = read_reference(data_dir, name)
    assert len(reference) > 3_000
    wrong = [
        text
        for text, ids in reference
        if [i for w in split_words(text, lowercase=lower, strip_accents=lower) for i in known[w]]
        != ids
    ]
    assert wrong == []
    for text, ids in reference[::400]:
        assert encode_exact(text, vocabulary, lower, lower) == ids


def test_chinese_vocabulary_as_hugging_face(data_dir: Path) -> None:
    vocabulary = Vocabulary.load(data_dir / "vocab" / "bert-base-chinese-vocab.txt")
    theirs = hugging_face(vocabulary, True, True)
    path = data_dir / "multilingual" / "zh.jsonl.gz"
    with gzip.open(path, "rt", encoding="utf-8", newline="\n") as lines:
        for line in islice(lines, 50):
            text = json.loads(line)["text"]
            assert encode_exact(text, vocabulary, True, True) == theirs.encode(text).ids


@settings(deadline=None)
@given(
    st.lists(st.text("ab#.中é", min_size=1, max_size=3), max_size=20, unique=True),
    st.lists(st.text("aBb#.中É é", max_size=12), max_size=20),
)
def test_any_vocabulary_as_hugging_face(pieces: list[str], texts: list[str]) -> None:
    vocabulary = Vocabulary(("[UNK]", *pieces))
    theirs = hugging_face(vocabulary, True, False)
    for text in texts:
        assert encode_exact(text, vocabulary, True, False) == theirs.encode(text).ids


def test_forgets_words_when_it_knows_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wordpiece, "_MAX_KNOWN_WORDS", 3)
    known = WordIds(SMALL)
    for word in ["a", "un", "b", "mask", "ab", "a"]:
        assert known[word] == tuple(encode_exact(word, SMALL, True, True))
        assert len(known) <= 3


def test_pickles_without_what_it_learned() -> None:
    known = WordIds(SMALL)
    assert known["unb"] == (2, 7)
    copy = pickle.loads(pickle.dumps(known))
    assert len(copy) == 0
    assert copy["unb"] == (2, 7)
