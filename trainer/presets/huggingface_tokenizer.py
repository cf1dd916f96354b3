"""BERT's tokenizer as Hugging Face's files, which its slow and fast classes both read."""

from __future__ import annotations

import json
import os
from typing import Any

from pipelines.errors import UserError
from pipelines.text.words import MAX_WORD_CHARACTERS
from trainer.presets.describe import read_json
from trainer.presets.fetch import fetch_file, find_file

_ROLES = ("unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
_TOKENS = {role: f"[{role[:-6].upper()}]" for role in _ROLES}


def save_tokenizer_files(tokenizer: Any, max_length: int, directory: str) -> None:
    """Writes vocab.txt, tokenizer_config.json, special_tokens_map.json and tokenizer.json."""
    vocabulary = tokenizer.get_vocabulary()
    with open(os.path.join(directory, "vocab.txt"), "w", encoding="utf-8", newline="\n") as file:
        file.writelines(f"{token}\n" for token in vocabulary)
    _write(directory, "special_tokens_map.json", _TOKENS)
    _write(
        directory,
        "tokenizer_config.json",
        {
            **_TOKENS,
            "tokenizer_class": "BertTokenizer",
            "do_lower_case": tokenizer.lowercase,
            "do_basic_tokenize": True,
            "strip_accents": tokenizer.strip_accents,
            "tokenize_chinese_chars": True,
            "model_max_length": max_length,
            "clean_up_tokenization_spaces": False,
        },
    )
    _write(directory, "tokenizer.json", _fast_tokenizer(tokenizer, vocabulary))


def load_tokenizer_files(preset: str, **kwargs: Any) -> Any:
    """A BertTokenizer from a Hugging Face directory or handle: vocab.txt and its settings."""
    from trainer.tokenizers.bert_tokenizer import BertTokenizer

    path = find_file(preset, "tokenizer_config.json")
    config = read_json(path) if path else {}
    if not config.get("tokenize_chinese_chars", True):
        raise UserError(f"{path}: tokenize_chinese_chars=false is not supported")
    lowercase = config.get("do_lower_case", True)
    strip_accents = config.get("strip_accents")
    vocabulary = fetch_file(preset, "vocab.txt")
    return BertTokenizer(
        **{"lowercase": lowercase, "strip_accents": strip_accents, **kwargs}, vocabulary=vocabulary
    )


def _fast_tokenizer(tokenizer: Any, vocabulary: list[str]) -> dict[str, Any]:
    ids = {token: i for i, token in enumerate(vocabulary)}

    def special(token: str, type_id: int) -> dict[str, Any]:
        return {"SpecialToken": {"id": token, "type_id": type_id}}

    def sequence(name: str, type_id: int) -> dict[str, Any]:
        return {"Sequence": {"id": name, "type_id": type_id}}

    single = [special("[CLS]", 0), sequence("A", 0), special("[SEP]", 0)]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": ids[token],
                "content": token,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": True,
            }
            for token in sorted(_TOKENS.values(), key=lambda token: ids[token])
        ],
        "normalizer": {
            "type": "BertNormalizer",
            "clean_text": True,
            "handle_chinese_chars": True,
            "strip_accents": tokenizer.strip_accents,
            "lowercase": tokenizer.lowercase,
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": single,
            "pair": [*single, sequence("B", 1), special("[SEP]", 1)],
            "special_tokens": {
                token: {"id": token, "ids": [ids[token]], "tokens": [token]}
                for token in ("[CLS]", "[SEP]")
            },
        },
        "decoder": {"type": "WordPiece", "prefix": tokenizer.suffix_indicator, "cleanup": True},
        "model": {
            "type": "WordPiece",
            "unk_token": tokenizer.oov_token,
            "continuing_subword_prefix": tokenizer.suffix_indicator,
            "max_input_chars_per_word": MAX_WORD_CHARACTERS,
            "vocab": ids,
        },
    }


def _write(directory: str, name: str, content: dict[str, Any]) -> None:
    with open(os.path.join(directory, name), "w", encoding="utf-8", newline="\n") as file:
        json.dump(content, file, indent=2, ensure_ascii=False)
