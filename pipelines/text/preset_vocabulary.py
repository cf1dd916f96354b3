"""The vocabulary of a preset, in KerasHub's or Hugging Face's layout, and how text is normalised for it.

Only what tokenizing needs is read; ``trainer.presets`` reads the models.
"""

from __future__ import annotations

from typing import Any

from pipelines.errors import UserError
from pipelines.records.checksums import check_files
from pipelines.records.manifest import MANIFEST
from pipelines.storage import files
from pipelines.storage.json_file import read_json
from pipelines.text.vocabulary import SPECIAL_TOKENS, Vocabulary
from pipelines.text.vocabulary_source import (
    VOCABULARY_FILE,
    VocabularySource,
    load_vocabulary,
    read_vocabulary,
)

_KERAS_HUB_FILE = "assets/tokenizer/vocabulary.txt"
_READ = (_KERAS_HUB_FILE, VOCABULARY_FILE, "tokenizer.json", "tokenizer_config.json")
# What downloads each kind of name.
_DOWNLOADS = {
    "hf://": "hf download {name} --local-dir DIR",
    "kaggle://": "kagglehub.model_download('{name}')",
}


def load_preset_vocabulary(folder: str) -> VocabularySource:
    """Reads it from a folder, local or remote; that of a finished stage or run will do too.

    Raises UserError for a name that is no folder, for a folder without a vocabulary, and for files
    that are not as the checksums beside them say.
    """
    for scheme, command in _DOWNLOADS.items():
        if folder.startswith(scheme):
            how = command.format(name=folder.removeprefix(scheme))
            raise UserError(
                f"--from_preset {folder}: give a folder; this one can be had with: {how}"
            )
    check_files(folder, _READ)
    tokenizer = _read(folder, "tokenizer.json")
    if "class_name" in tokenizer:
        vocabulary = read_vocabulary(files.join(folder, *_KERAS_HUB_FILE.split("/")))
        settings = tokenizer.get("config") or {}
        return _with_settings(vocabulary, settings.get("lowercase", False), settings)
    path = files.join(folder, VOCABULARY_FILE)
    has_file = files.exists(path)
    if has_file and files.exists(files.join(folder, MANIFEST)):
        return load_vocabulary(path)
    vocabulary = read_vocabulary(path) if has_file else _vocabulary_within(tokenizer, folder)
    normalizer = tokenizer.get("normalizer") or {}
    settings = {**normalizer, **_read(folder, "tokenizer_config.json")}
    lowercase = settings.get("do_lower_case", normalizer.get("lowercase", True))
    return _with_settings(vocabulary, lowercase, settings)


def _read(folder: str, name: str) -> dict[str, Any]:
    path = files.join(folder, name)
    return read_json(path) if files.exists(path) else {}


def _with_settings(
    vocabulary: Vocabulary, lowercase: Any, settings: dict[str, Any]
) -> VocabularySource:
    strip_accents = settings.get("strip_accents")
    return VocabularySource(
        vocabulary, bool(lowercase), bool(lowercase if strip_accents is None else strip_accents)
    )


def _vocabulary_within(tokenizer: dict[str, Any], folder: str) -> Vocabulary:
    """The vocabulary that a tokenizer.json holds itself."""
    model = tokenizer.get("model")
    ids = model.get("vocab") if isinstance(model, dict) else None
    if not isinstance(ids, dict) or sorted(ids.values()) != list(range(len(ids))):
        raise UserError(
            f"--from_preset: {folder} holds no WordPiece vocabulary: neither {VOCABULARY_FILE} nor "
            f"{_KERAS_HUB_FILE} nor a tokenizer.json with one"
        )
    tokens = tuple(sorted(ids, key=ids.__getitem__))
    vocabulary = Vocabulary(tokens, source=files.join(folder, "tokenizer.json"))
    vocabulary.require(SPECIAL_TOKENS)
    return vocabulary
