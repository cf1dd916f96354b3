"""Run by test_huggingface.py: tokenizers that transformers saves give its ids, or are refused in one
line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import transformers

import trainer
from tests.trainer.presets.saved_by_transformers import (
    VOCABULARY,
    edit_json,
    refused,
    save_tokenizer,
)
from trainer.presets.huggingface import save_huggingface

_TEXTS = [
    "The foxes. Häus 中文 zzz",
    "HAUS häus Haus ha\u0308us \u00adfox\ttheme",
    "<user>fox</user> [MASK] [unused0]",
    "fox" * 40,
]


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    save_tokenizer(tmp_path)
    return tmp_path


def _assert_equal_ids(folder: Path) -> Any:
    ours = trainer.models.BertTokenizer.from_preset(str(folder))
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    for text in _TEXTS[:2] if not ours.special_tokens_in_strings else _TEXTS:
        expected = theirs.encode(text, add_special_tokens=False)
        assert ours(text).tolist() == expected, text
    return ours


@pytest.mark.parametrize("files", ["fast", "both", "vocab.txt"])
@pytest.mark.parametrize("lowercase", [True, False])
@pytest.mark.parametrize("strip", [None, True, False])
def test_normalisation(files: str, lowercase: bool, strip: bool | None, tmp_path: Path) -> None:
    save_tokenizer(tmp_path, files, do_lower_case=lowercase, strip_accents=strip)
    ours = _assert_equal_ids(tmp_path)
    assert (ours.lowercase, ours.strip_accents) == (
        lowercase,
        lowercase if strip is None else strip,
    )


def test_settings_left_out(tmp_path: Path) -> None:
    save_tokenizer(tmp_path, "vocab.txt")
    (tmp_path / "tokenizer_config.json").unlink()
    _assert_equal_ids(tmp_path)


@pytest.mark.parametrize("lowercase", [True, False])
def test_added_tokens(lowercase: bool, tmp_path: Path) -> None:
    save_tokenizer(tmp_path, do_lower_case=lowercase)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    theirs.add_tokens(["<user>", "<user"], special_tokens=True)
    if not lowercase:
        theirs.add_tokens(["theme"])
    theirs.save_pretrained(tmp_path)
    ours = _assert_equal_ids(tmp_path)
    assert ours.vocabulary_size() == len(theirs)
    save_huggingface(_load_backbone_of(len(theirs)), ours, str(tmp_path / "back"))
    _assert_equal_ids(tmp_path / "back")
    theirs.add_tokens(["Normalized"])
    theirs.save_pretrained(tmp_path)
    if lowercase:
        load = trainer.models.BertTokenizer.from_preset
        assert "'Normalized' is normalized" in refused(lambda: load(str(tmp_path)))


def _load_backbone_of(vocabulary_size: int) -> Any:
    return trainer.models.BertBackbone(vocabulary_size, 1, 1, 4, 4, max_sequence_length=8)


@pytest.mark.parametrize("files", ["vocab.txt", "both"])
def test_a_piece_that_is_there_twice(files: str, tmp_path: Path) -> None:
    save_tokenizer(tmp_path, "vocab.txt")
    lines = "".join(f"{piece}\n" for piece in [*VOCABULARY, "fox", "", "the", "", ""])
    (tmp_path / "vocab.txt").write_text(lines.replace("\n", "\r\n" if files == "both" else "\n"))
    if files == "both":
        transformers.AutoTokenizer.from_pretrained(tmp_path).save_pretrained(tmp_path)
    ours = _assert_equal_ids(tmp_path)
    assert ours("the fox").tolist() == [len(VOCABULARY) + 2, len(VOCABULARY)]
    assert ours.get_vocabulary()[7] == "[NO PIECE 7]"


_FAST_REFUSED: list[tuple[tuple[str, ...], Any, str]] = [
    (("model", "type"), "Unigram", "type is 'Unigram'"),
    (("model", "continuing_subword_prefix"), "@@", "continuing_subword_prefix"),
    (("model", "max_input_chars_per_word"), 200, "max_input_chars_per_word is '200'"),
    (("model", "vocab"), [["a", 0]], "model.vocab"),
    (("model", "vocab"), {"a": -1}, "model.vocab"),
    (("normalizer",), None, "normalizer"),
    (("normalizer", "type"), "Lowercase", "normalizer: type is 'Lowercase'"),
    (("normalizer", "handle_chinese_chars"), False, "handle_chinese_chars is 'False'"),
    (("normalizer", "lowercase"), False, "tokenizer_config.json says {'lowercase': True"),
    (("pre_tokenizer", "type"), "Whitespace", "pre_tokenizer: type is 'Whitespace'"),
    (("post_processor", "single"), [{"Sequence": {"id": "A", "type_id": 0}}], "laid out as A"),
    (("added_tokens",), [{"id": 7, "content": "x"}], "'x' has the id 7 of another piece"),
]


@pytest.mark.parametrize(("path", "value", "said"), _FAST_REFUSED)
def test_fast_tokenizers_that_are_not_berts(
    path: tuple[str, ...], value: Any, said: str, saved: Path
) -> None:
    fast = json.loads((saved / "tokenizer.json").read_text())
    place = fast
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    (saved / "tokenizer.json").write_text(json.dumps(fast))
    edit_json(saved / "config.json")
    assert said in refused(lambda: trainer.models.BertTokenizer.from_preset(str(saved)))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("tokenizer_class", "BertJapaneseTokenizer"),
        ("tokenize_chinese_chars", False),
        ("do_basic_tokenize", False),
        ("cls_token", {"content": "<s>"}),
        ("do_lower_case", "yes"),
    ],
)
def test_settings_that_are_not_berts(key: str, value: Any, saved: Path) -> None:
    edit_json(saved / "tokenizer_config.json", **{key: value})
    message = refused(lambda: trainer.models.BertTokenizer.from_preset(str(saved)))
    assert key.replace("do_lower_case", "lowercase") in message


def test_files_that_contradict_each_other(saved: Path) -> None:
    (saved / "vocab.txt").write_text(
        "".join(f"{p}\n" for p in VOCABULARY).replace("fox\n", "cat\n")
    )
    load = trainer.models.BertTokenizer.from_preset
    assert "id 7 is 'cat' in vocab.txt and 'fox' in tokenizer.json" in refused(
        lambda: load(str(saved))
    )
