"""A BertTokenizer from Hugging Face's files, as ``pipelines.text.huggingface_tokenizer`` reads them."""

from __future__ import annotations

from functools import partial
from typing import Any

from pipelines.text.huggingface_tokenizer import read_huggingface_tokenizer
from trainer.presets.fetch import find_file
from trainer.tokenizers.bert_tokenizer import BertTokenizer


def load_tokenizer_files(preset: str, **kwargs: Any) -> BertTokenizer:
    """The tokenizer of a Hugging Face directory or handle; ``kwargs`` override its arguments."""
    read = read_huggingface_tokenizer(partial(find_file, preset), preset)
    arguments: dict[str, Any] = {
        "lowercase": read.lowercase,
        "strip_accents": read.strip_accents,
    }
    if read.added:
        arguments |= {"special_tokens": list(read.added), "special_tokens_in_strings": True}
    return BertTokenizer(**{**arguments, **kwargs}, vocabulary=list(read.pieces))
