"""WordPieceTokenizer gives KerasHub's ids; BertTokenizer gives BERT's."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import keras
import numpy as np
import pytest

from pipelines.errors import UserError
from trainer.tokenizers.bert_tokenizer import BertTokenizer
from trainer.tokenizers.word_piece_tokenizer import WordPieceTokenizer
from trainer.tokenizers.word_piece_vocabulary import compute_word_piece_vocabulary

_SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
_VOCABULARY = [
    *_SPECIAL,
    "the",
    "qu",
    "##ick",
    "br",
    "##own",
    "fox",
    ".",
    "haus",
    "ha",
    "中",
    "##s",
]


def _reference(data_dir: Path, count: int) -> list[dict]:
    with gzip.open(data_dir / "tokenizer" / "bert_reference_ids.jsonl.gz", "rt") as file:
        lines = file.read().split("\n")
    return [json.loads(line) for line in lines[:: max(1, len(lines) // count)] if line]


@pytest.mark.parametrize(
    ("lowercase", "strip_accents", "split_on_cjk"),
    [(True, True, True), (True, False, True), (False, True, False)],
)
def test_word_piece_equals_keras_hub(
    data_dir: Path, lowercase: bool, strip_accents: bool, split_on_cjk: bool
) -> None:
    keras_hub = pytest.importorskip("keras_hub")
    vocabulary = (data_dir / "vocab" / "bert-base-uncased-vocab.txt").read_text().split("\n")[:-1]
    options = {
        "lowercase": lowercase,
        "strip_accents": strip_accents,
        "split_on_cjk": split_on_cjk,
    }
    ours = WordPieceTokenizer(vocabulary, **options)
    theirs = keras_hub.tokenizers.WordPieceTokenizer(vocabulary, **options)
    texts = [row["text"] for row in _reference(data_dir, 300)]
    for text, found, expected in zip(texts, ours(texts), theirs(texts), strict=True):
        assert found == list(map(int, expected)), text


def test_pieces_and_back_by_hand() -> None:
    tokenizer = WordPieceTokenizer(_VOCABULARY, lowercase=True)
    assert tokenizer("The quick brown fox.").tolist() == [5, 6, 7, 8, 9, 10, 11]
    assert tokenizer(["the fox", "QUICK"]) == [[5, 10], [6, 7]]
    assert tokenizer.detokenize(tokenizer("The quick brown fox.")) == "the quick brown fox ."
    pieces = WordPieceTokenizer(_VOCABULARY, lowercase=True, dtype="string")
    assert pieces("quick") == ["qu", "##ick"]
    padded = WordPieceTokenizer(_VOCABULARY, lowercase=True, sequence_length=3)
    assert padded(["the", "quick brown"]).tolist() == [[5, 0, 0], [6, 7, 8]]
    assert WordPieceTokenizer(_VOCABULARY)("x" * 200).tolist() == [1]
    with pytest.raises(UserError, match=r"\[NOPE\] not among its .* pieces"):
        WordPieceTokenizer(_VOCABULARY, oov_token="[NOPE]")
    with pytest.raises(ValueError, match="oov_token must be a piece"):
        WordPieceTokenizer(_VOCABULARY, oov_token=None)
    with pytest.raises(ValueError, match="99 is not in"):
        tokenizer.id_to_token(99)


def test_words_that_are_split_already() -> None:
    tf = pytest.importorskip("tensorflow")
    tokenizer = WordPieceTokenizer(_VOCABULARY, split=False)
    assert tokenizer(["quick", "fox", "the fox"]).tolist() == [6, 7, 10, 1], "one row of words"
    rows = [["quick", "fox"], ["the"], []]
    assert tokenizer(rows) == [[6, 7, 10], [5], []]
    assert tokenizer("quick").tolist() == [6, 7]
    dataset = tf.data.Dataset.from_tensors(tf.ragged.constant(rows, dtype=tf.string))
    assert next(iter(dataset.map(tokenizer))).to_list() == [[6, 7, 10], [5], []]
    words = tf.data.Dataset.from_tensor_slices(["quick", "fox"])
    assert [ids.tolist() for ids in words.map(tokenizer).as_numpy_iterator()] == [[6, 7], [10]]
    dense = WordPieceTokenizer(_VOCABULARY, split=False, sequence_length=2, dtype="string")
    assert dense(rows) == [["qu", "##ick"], ["the", ""], ["", ""]]


def test_a_saved_model_cannot_have_any_file_read(tmp_path: Path) -> None:
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join(_VOCABULARY))
    config = keras.saving.serialize_keras_object(BertTokenizer())
    config["config"]["vocabulary"] = str(path)
    with pytest.raises(TypeError, match=r"vocab.txt: a saved model names .* safe_mode=False"):
        keras.saving.deserialize_keras_object(config)
    trusted = keras.saving.deserialize_keras_object(config, safe_mode=False)
    assert trusted.get_vocabulary() == _VOCABULARY


def test_a_list_of_columns_is_refused() -> None:
    with pytest.raises(ValueError, match=r"holds \['the', 'fox'\]; segments to join are a tuple"):
        BertTokenizer(_VOCABULARY)([["the", "fox"], ["fox", "the"]])


def test_bert_tokenizer_gives_the_reference_ids(data_dir: Path) -> None:
    rows = _reference(data_dir, 400)
    for name, lowercase in (("uncased", True), ("cased", False)):
        path = data_dir / "vocab" / f"bert-base-{name}-vocab.txt"
        tokenizer = BertTokenizer(str(path), lowercase=lowercase)
        for row in rows:
            expected = row[f"hf_{name}"] or row[f"google_{name}"]
            assert list(tokenizer(row["text"])) == expected, row["text"]


def test_bert_tokenizer_special_tokens() -> None:
    tokenizer = BertTokenizer(_VOCABULARY, lowercase=True)
    assert tokenizer.cls_token_id == tokenizer.start_token_id == 2
    assert (tokenizer.sep_token_id, tokenizer.pad_token_id, tokenizer.mask_token_id) == (3, 0, 4)
    assert sorted(tokenizer.special_token_ids) == [0, 2, 3, 4]
    assert tokenizer("Häus").tolist() == [12], "accents go with case"
    assert 4 not in tokenizer("the [MASK] fox")
    marked = BertTokenizer(_VOCABULARY, lowercase=True, special_tokens_in_strings=True)
    assert marked("the [MASK] fox").tolist() == [5, 4, 10]
    copy = BertTokenizer.from_config(marked.get_config())
    copy.set_vocabulary(_VOCABULARY)
    assert copy("the [MASK] fox").tolist() == [5, 4, 10]
    np.testing.assert_array_equal(tokenizer(np.array(["the", "fox"])), [[5], [10]])
    with pytest.raises(UserError, match=r"BertTokenizer: \[MASK\] not among"):
        BertTokenizer(_VOCABULARY[:4])


def test_what_utf8_cannot_hold_is_dropped() -> None:
    tokenizer = BertTokenizer(_VOCABULARY, lowercase=True)
    assert tokenizer(["the\ud800 fox", b"the\xff fox"]) == [[5, 10], [5, 10]]


def test_a_special_token_that_is_no_piece_is_told() -> None:
    tokenizer = BertTokenizer(_VOCABULARY, special_tokens=["[NEW]"], special_tokens_in_strings=True)
    with pytest.raises(UserError, match=r"\[NEW\] not among its .* pieces"):
        tokenizer("the [NEW] fox")


def test_a_learned_list_with_a_blank_in_a_piece_is_taken_saved_and_read(tmp_path: Path) -> None:
    tf = pytest.importorskip("tensorflow")
    # Folding "´" leaves a blank and a mark: KerasHub's learner and ours then list "##" + " ".
    pieces = compute_word_piece_vocabulary(
        tf.data.Dataset.from_tensor_slices(["so´ a so´ b so so", "it´s a so"]),
        vocabulary_size=40,
        lowercase=True,
        strip_accents=True,
    )
    assert any(piece != piece.strip() for piece in pieces)
    tokenizer = WordPieceTokenizer(pieces, lowercase=True, strip_accents=True)
    ids = tokenizer.tokenize_texts(["so it´s a b"])
    (tmp_path / "assets").mkdir()
    tokenizer.save_assets(str(tmp_path / "assets"))
    again = WordPieceTokenizer(None, lowercase=True, strip_accents=True)
    again.load_assets(str(tmp_path / "assets"))
    assert again.get_vocabulary() == pieces
    assert again.tokenize_texts(["so it´s a b"]) == ids


def test_a_lone_surrogate_is_a_replacement_character() -> None:
    tokenizer = BertTokenizer([*_SPECIAL, "the", "fox"])
    assert tokenizer(["the\ud800 fox"]) == tokenizer(["the\ufffd fox"]) == [[5, 6]]
