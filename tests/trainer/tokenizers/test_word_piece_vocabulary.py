"""``compute_word_piece_vocabulary`` beside KerasHub's: the same list for every kind of input."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from trainer.tokenizers import compute_word_piece_vocabulary

tf = pytest.importorskip("tensorflow")
keras_hub = pytest.importorskip("keras_hub")

TEXTS = [
    "The quick brown fox jumped over the lazy dog, and the dogs jumped over the quick foxes.",
    "It's 3:45; Straße, STRASSE, ﬁne ＡＢＣ, Ünïcödé e\u0301 漢字かな交じり文",
    "한국어 \u200bx\x07y\u00ady",
    "naïve façade Δίκη ς σ İstanbul 😀😀 a--b ~~ $5 100% [MASK] ##ing",
] * 12
LANGUAGES = ["imdb/train-00000-of-00008", *(f"multilingual/{n}" for n in "de es ja ko zh".split())]


def check(data: Any, size: int, **options: Any) -> list[str]:
    theirs = keras_hub.tokenizers.compute_word_piece_vocabulary(data, size, **options)
    ours = compute_word_piece_vocabulary(data, size, **options)
    assert ours == theirs
    return list(ours or ())


def read_texts(data_dir: Path, name: str, characters: int) -> list[str]:
    texts: list[str] = []
    with gzip.open(data_dir / f"{name}.jsonl.gz", "rt", encoding="utf-8", newline="\n") as lines:
        for line in lines:
            texts.append(json.loads(line)["text"][: characters // 4])
            if sum(map(len, texts)) >= characters:
                return texts
    return texts


@pytest.mark.parametrize("lowercase", [True, False])
@pytest.mark.parametrize("strip_accents", [True, False])
@pytest.mark.parametrize("split_on_cjk", [True, False])
def test_options(lowercase: bool, strip_accents: bool, split_on_cjk: bool) -> None:
    vocabulary = check(
        tf.data.Dataset.from_tensor_slices(TEXTS),
        400,
        lowercase=lowercase,
        strip_accents=strip_accents,
        split_on_cjk=split_on_cjk,
    )
    assert len(vocabulary) > 100


def test_kinds_of_datasets() -> None:
    flat = tf.data.Dataset.from_tensor_slices(TEXTS)
    expected = check(flat, 300)
    assert check(flat.batch(5), 300) == expected
    assert check(flat.batch(4, drop_remainder=True).batch(3), 300) == expected
    words = flat.map(tf.strings.split)
    check(words, 300, split=False)
    ragged = flat.map(tf.strings.split).ragged_batch(4)
    assert check(ragged, 300, split=False) == check(words, 300, split=False)
    check(ragged, 300, lowercase=True, strip_accents=True)


def test_reserved_tokens_sizes_and_suffix() -> None:
    data = tf.data.Dataset.from_tensor_slices(TEXTS)
    for size in (3, 60, 250, 5000):
        check(data, size, reserved_tokens=["[UNK]", "the", "##x", "The"], suffix_indicator="@@")
    check(data, 100, reserved_tokens=[])
    check(tf.data.Dataset.from_tensor_slices(["bat sat pat mat rat"]), 13)


def test_files(tmp_path: Path) -> None:
    paths = [str(tmp_path / "a.txt"), str(tmp_path / "b.txt")]
    Path(paths[0]).write_text("\n".join(TEXTS), encoding="utf-8", newline="")
    Path(paths[1]).write_text("one more\r\n\n\u0085file\u2028of text", encoding="utf-8", newline="")
    expected = check(paths, 300, lowercase=True)
    output = tmp_path / "vocabulary.txt"
    assert compute_word_piece_vocabulary(paths, 300, str(output), lowercase=True) is None
    assert output.read_bytes().decode() == "".join(f"{token}\n" for token in expected)


def test_naughty_strings(data_dir: Path) -> None:
    texts = json.loads((data_dir / "tokenizer" / "blns.json").read_text(encoding="utf-8"))
    data = tf.data.Dataset.from_tensor_slices([text for text in texts[::2] for _ in range(10)])
    check(data, 1500)
    check(data, 1500, lowercase=True, strip_accents=True)


@pytest.mark.parametrize("name", LANGUAGES)
def test_real_text(data_dir: Path, name: str) -> None:
    data = tf.data.Dataset.from_tensor_slices(read_texts(data_dir, name, 12_000))
    check(data, 1000, lowercase=True, strip_accents=True)


@pytest.mark.long
@pytest.mark.parametrize("name", LANGUAGES)
def test_more_real_text(data_dir: Path, name: str) -> None:
    data = tf.data.Dataset.from_tensor_slices(read_texts(data_dir, name, 200_000))
    check(data, 4000, lowercase=True, strip_accents=True)
    check(data, 2000)


def test_errors() -> None:
    words = tf.data.Dataset.from_tensor_slices([1, 2])
    for function in (
        keras_hub.tokenizers.compute_word_piece_vocabulary,
        compute_word_piece_vocabulary,
    ):
        with pytest.raises(ValueError, match="Dataset"):
            function("text", 10)
        with pytest.raises(ValueError, match="split"):
            function(["a.txt"], 10, split=False)
        with pytest.raises(ValueError, match="string"):
            function(words, 10)
        with pytest.raises(tf.errors.NotFoundError):
            function(["/no/such/file.txt"], 10)
        with pytest.raises(UnicodeDecodeError):
            function(tf.data.Dataset.from_tensor_slices([b"\xff"]), 10)
    with pytest.raises(ValueError, match="no words"):
        compute_word_piece_vocabulary(tf.data.Dataset.from_tensor_slices([" "]), 10)
