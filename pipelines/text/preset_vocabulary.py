"""The vocabulary of a preset, in KerasHub's or Hugging Face's layout, and how text is normalised for it.

Only what tokenizing needs is read; ``trainer.presets`` reads the models.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from pipelines.errors import UserError
from pipelines.records.checksums import check_files
from pipelines.records.manifest import MANIFEST
from pipelines.records.preset_folder import preset_folder
from pipelines.storage import files
from pipelines.storage.json_file import read_json
from pipelines.text.huggingface_tokenizer import FILES, read_huggingface_tokenizer
from pipelines.text.vocabulary import Vocabulary
from pipelines.text.vocabulary_source import (
    VOCABULARY_FILE,
    VocabularySource,
    load_vocabulary,
)

_KERAS_HUB_FILE = "assets/tokenizer/vocabulary.txt"
_READ = (_KERAS_HUB_FILE, *FILES)
# What downloads each kind of name.
_DOWNLOADS = {
    "hf://": "huggingface_hub.snapshot_download('{name}')",
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
    folder = preset_folder(folder)
    check_files(folder, _READ)
    tokenizer = _read(folder, "tokenizer.json")
    if "class_name" in tokenizer:
        vocabulary = Vocabulary.load(files.join(folder, *_KERAS_HUB_FILE.split("/")))
        return _with_settings(vocabulary, tokenizer.get("config"), folder)
    path = files.join(folder, VOCABULARY_FILE)
    if files.exists(path) and files.exists(files.join(folder, MANIFEST)):
        return load_vocabulary(path)
    if not tokenizer and not files.exists(path):
        raise UserError(
            f"--from_preset: {folder} holds no WordPiece vocabulary: neither {VOCABULARY_FILE} nor "
            f"{_KERAS_HUB_FILE} nor tokenizer.json"
        )
    read = read_huggingface_tokenizer(partial(_find, folder), f"--from_preset {folder}")
    source = files.join(folder, VOCABULARY_FILE if files.exists(path) else "tokenizer.json")
    vocabulary = Vocabulary(read.pieces, source=source)
    return VocabularySource(vocabulary, read.lowercase, read.strip_accents)


def _find(folder: str, name: str) -> str | None:
    path = files.join(folder, name)
    return path if files.exists(path) else None


def _read(folder: str, name: str) -> dict[str, Any]:
    path = _find(folder, name)
    return read_json(path) if path else {}


def _with_settings(vocabulary: Vocabulary, config: Any, folder: str) -> VocabularySource:
    settings = config if isinstance(config, dict) else {}
    lowercase, strip_accents = settings.get("lowercase", False), settings.get("strip_accents")
    strip_accents = lowercase if strip_accents is None else strip_accents
    if not isinstance(lowercase, bool) or not isinstance(strip_accents, bool):
        raise UserError(
            f"--from_preset: in {folder} lowercase is {lowercase!r} and strip_accents "
            f"{strip_accents!r}, not true or false; get its files again"
        )
    return VocabularySource(vocabulary, lowercase, strip_accents)
