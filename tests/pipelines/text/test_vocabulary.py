"""Vocabulary files: ids, special pieces, and what is said about bad ones."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path

import numpy as np
import pytest

from pipelines.errors import UserError
from pipelines.text.vocabulary import SPECIAL_TOKENS, Vocabulary
from pipelines.text.vocabulary_source import load_vocabulary
from pipelines.text.wordpiece import WordIds
from pipelines.text.words import split_words

PIECES = [*SPECIAL_TOKENS, "un", "##aff", "##able", "##", "\u2028"]


def write(folder: Path, content: bytes) -> Path:
    path = folder / "vocab.txt"
    path.write_bytes(content)
    return path


def test_ids_are_line_numbers(tmp_path: Path) -> None:
    content = "".join(f"{piece}\n" for piece in PIECES).encode()
    vocabulary = Vocabulary.load(write(tmp_path, content))
    assert vocabulary.tokens == tuple(PIECES)
    assert vocabulary.size == len(PIECES)
    assert [vocabulary.index[piece] for piece in PIECES] == list(range(len(PIECES)))
    assert [vocabulary.pad_id, vocabulary.unk_id, vocabulary.cls_id] == [0, 1, 2]
    assert [vocabulary.sep_id, vocabulary.mask_id] == [3, 4]
    assert vocabulary.decode(np.array([5, 6, 7])) == ["un", "##aff", "##able"]
    assert vocabulary.is_continuation.dtype == np.bool_
    assert np.flatnonzero(vocabulary.is_continuation).tolist() == [6, 7]  # "##" alone begins a word
    assert vocabulary.fingerprint == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("content", ["\r\n".join(PIECES) + "\r\n", "\ufeff" + "\n".join(PIECES)])
def test_line_ends_and_byte_order_mark_do_not_matter(tmp_path: Path, content: str) -> None:
    plain = Vocabulary(tuple(PIECES))
    vocabulary = Vocabulary.load(write(tmp_path, content.encode()))
    assert vocabulary.tokens == plain.tokens
    assert vocabulary.fingerprint == plain.fingerprint


def test_another_suffix_indicator() -> None:
    vocabulary = Vocabulary(("[UNK]", "a", "@@b", "##c"), suffix_indicator="@@")
    assert vocabulary.is_continuation.tolist() == [False, False, True, False]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no pieces"),
        (b"[PAD]\n[UNK]\n[CLS]\n[SEP]\na\n", "[MASK] not among its 5 pieces"),
        (b"a\nb\na\n", "line 3: 'a' is already on line 1"),
        (b"a\n\nb\n", "line 2: no piece"),
        (b"a\n b\n", "line 2: ' b' has blanks"),
        (b"a\nb\nc\xff\n", "line 3: byte 0xff is not UTF-8"),
    ],
)
def test_a_bad_file_is_named_in_one_line(tmp_path: Path, content: bytes, said: str) -> None:
    path = write(tmp_path, content)
    with pytest.raises(UserError) as caught:
        Vocabulary.load(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert said in message
    assert "\n" not in message


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        Vocabulary.load(tmp_path / "vocab.txt")
    with pytest.raises(UserError, match="cannot be read"):
        Vocabulary.load(tmp_path)


def test_only_required_pieces_are_required(tmp_path: Path) -> None:
    vocabulary = Vocabulary.load(write(tmp_path, b"[UNK]\na\n"), required=["[UNK]"])
    assert vocabulary.unk_id == 0
    with pytest.raises(UserError, match=r"\[MASK\] not among"):
        _ = vocabulary.mask_id


def test_decode_refuses_ids_out_of_range() -> None:
    for wrong in (-1, 2):
        with pytest.raises(IndexError, match=str(wrong)):
            Vocabulary(("[UNK]", "a")).decode([0, wrong])


def test_equal_ones_hash_and_pickle_alike() -> None:
    vocabulary = Vocabulary(tuple(PIECES))
    fresh = pickle.dumps(vocabulary)
    assert vocabulary.is_continuation.any()
    assert pickle.dumps(vocabulary) == fresh  # what was computed from the pieces is not sent along
    copy = pickle.loads(fresh)
    assert copy == vocabulary
    assert hash(copy) == hash(vocabulary)
    assert copy != Vocabulary(tuple(PIECES[:-1]))
    assert copy.index == vocabulary.index


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("bert-base-uncased", 30_522),
        ("bert-base-cased", 28_996),
        ("bert-base-multilingual-cased", 119_547),
        ("bert-base-chinese", 21_128),
    ],
)
def test_published_vocabularies_load(data_dir: Path, name: str, size: int) -> None:
    path = data_dir / "vocab" / f"{name}-vocab.txt"
    vocabulary = Vocabulary.load(path)
    assert vocabulary.size == size
    assert vocabulary.decode([vocabulary.mask_id, vocabulary.pad_id]) == ["[MASK]", "[PAD]"]
    assert vocabulary.fingerprint == hashlib.sha256(path.read_bytes()).hexdigest()
    source = load_vocabulary(str(path))
    assert source.strip_accents == source.lowercase == ("uncased" in name)


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("한국어 텍스트 good", "한국어 텍 ##스트 good"),
        ("がぎ", "が ##ぎ"),
        ("हिन्दी", "हिन्दी"),
        ("мой", "мой"),
        ("ÉTÉS", "été ##s"),
    ],
)
def test_accented_pieces_of_a_bare_file_are_found(tmp_path: Path, text: str, pieces: str) -> None:
    content = "\n".join([*SPECIAL_TOKENS, *pieces.split()]).encode()
    source = load_vocabulary(str(write(tmp_path, content)))
    assert (source.lowercase, source.strip_accents) == (True, False)
    assert "would be lost" in source.note
    words = split_words(text, lowercase=True, strip_accents=False)
    ids = WordIds(source.vocabulary)
    found = source.vocabulary.decode([i for word in words for i in ids[word]])
    assert found == pieces.split()
    assert load_vocabulary(str(tmp_path / "vocab.txt"), strip_accents=True).strip_accents
