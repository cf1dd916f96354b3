"""BERT's tokenizer as Hugging Face's files, which its slow and fast classes both read."""

from __future__ import annotations

import os
from typing import Any

from pipelines.text.huggingface_tokenizer import ROLES
from pipelines.text.words import MAX_WORD_CHARACTERS
from trainer.presets.json_files import write_json

# In the order in which Transformers writes them.
_ROLES = ("unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
_TOKENS = {role: ROLES[role] for role in _ROLES}


def save_tokenizer_files(tokenizer: Any, max_length: int, directory: str) -> None:
    """Writes vocab.txt, tokenizer_config.json, special_tokens_map.json and tokenizer.json."""
    vocabulary = tokenizer.get_vocabulary()
    with open(os.path.join(directory, "vocab.txt"), "w", encoding="utf-8", newline="\n") as file:
        file.writelines(f"{token}\n" for token in vocabulary)
    settings = {
        **_TOKENS,
        "tokenizer_class": "BertTokenizer",
        "do_lower_case": tokenizer.lowercase,
        "do_basic_tokenize": True,
        "strip_accents": tokenizer.strip_accents,
        "tokenize_chinese_chars": True,
        "model_max_length": max_length,
        "clean_up_tokenization_spaces": False,
    }
    for name, content in (
        ("special_tokens_map.json", _TOKENS),
        ("tokenizer_config.json", settings),
        ("tokenizer.json", _fast_tokenizer(tokenizer, vocabulary)),
    ):
        write_json(directory, name, content, indent=2, ensure_ascii=False)


def _added(tokenizer: Any) -> list[str]:
    """Tokens beside BERT's own that are recognised in text."""
    is_looked_for = tokenizer.special_tokens_in_strings
    return tokenizer.get_config()["special_tokens"] or [] if is_looked_for else []


def _fast_tokenizer(tokenizer: Any, vocabulary: list[str]) -> dict[str, Any]:
    ids = {token: i for i, token in enumerate(vocabulary)}

    def layout(*names: str, type_id: int) -> list[dict[str, Any]]:
        kinds = {"A": "Sequence", "B": "Sequence"}
        return [
            {kinds.get(name, "SpecialToken"): {"id": name, "type_id": type_id}} for name in names
        ]

    single = layout("[CLS]", "A", "[SEP]", type_id=0)
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
            for token in sorted({*_TOKENS.values(), *_added(tokenizer)}, key=ids.__getitem__)
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
            "pair": [*single, *layout("B", "[SEP]", type_id=1)],
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
