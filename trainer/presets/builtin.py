"""The nine presets of Google's BERT models by name: architecture here, weights on Kaggle."""

from __future__ import annotations

import difflib
from typing import Any

from pipelines.errors import UserError
from trainer.models.sizes import dimensions_of


def _preset(
    name: str, size: str, vocabulary_size: int, parameters: int, lowercase: bool, description: str
) -> dict[str, Any]:
    return {
        "metadata": {"description": description, "params": parameters, "path": "bert"},
        "kaggle_handle": f"kaggle://keras/bert/keras/{name}/3",
        "lowercase": lowercase,
        "config": {"vocabulary_size": vocabulary_size, **dimensions_of(size)},
    }


_ENGLISH = "English Wikipedia and BooksCorpus"
_ROWS: tuple[tuple[str, str, int, int, bool, str], ...] = (
    ("bert_tiny_en_uncased", "bert_tiny", 30522, 4_385_920, True, f"2 layers, {_ENGLISH}"),
    ("bert_small_en_uncased", "bert_small", 30522, 28_763_648, True, f"4 layers, {_ENGLISH}"),
    ("bert_medium_en_uncased", "bert_medium", 30522, 41_373_184, True, f"8 layers, {_ENGLISH}"),
    ("bert_base_en_uncased", "bert_base", 30522, 109_482_240, True, f"12 layers, {_ENGLISH}"),
    ("bert_base_en", "bert_base", 28996, 108_310_272, False, f"12 layers, cased, {_ENGLISH}"),
    ("bert_base_zh", "bert_base", 21128, 102_267_648, False, "12 layers, Chinese Wikipedia"),
    ("bert_base_multi", "bert_base", 119547, 177_853_440, False, "12 layers, 104 Wikipedias"),
    ("bert_large_en_uncased", "bert_large", 30522, 335_141_888, True, f"24 layers, {_ENGLISH}"),
    ("bert_large_en", "bert_large", 28996, 333_579_264, False, f"24 layers, cased, {_ENGLISH}"),
)
BUILTIN_PRESETS: dict[str, dict[str, Any]] = {row[0]: _preset(*row) for row in _ROWS}


def unknown_preset(name: str) -> UserError:
    """The error for something that is neither a built-in name, a handle nor a directory."""
    nearest = difflib.get_close_matches(name, BUILTIN_PRESETS, n=2, cutoff=0.5)
    hint = f"did you mean {' or '.join(map(repr, nearest))}? " if nearest else ""
    return UserError(
        f"preset {name!r} is not a directory, a kaggle:// or hf:// handle, or a built-in name; "
        f"{hint}The built-in names are {', '.join(BUILTIN_PRESETS)}"
    )
