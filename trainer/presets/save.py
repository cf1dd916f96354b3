"""Writes presets: the files that KerasHub 0.32 writes, so that it and later versions read them, and
beside them the checksums of all files in the folder."""

from __future__ import annotations

import datetime
import os
from typing import Any

import keras

from pipelines.records.checksums import names_below, write_checksums
from trainer.presets.describe import describe
from trainer.presets.json_files import write_json
from trainer.presets.weights import save_weights

# Whose format is written, for readers that look at it.
_KERAS_HUB_VERSION = "0.32.0"


def save_model(model: Any, preset_dir: str) -> None:
    """Writes a backbone, or a task with its backbone and, if there is one, its preprocessor."""
    backbone = getattr(model, "backbone", model)
    metadata = {
        "keras_version": keras.__version__,
        "keras_hub_version": _KERAS_HUB_VERSION,
        "parameter_count": backbone.count_params(),
        "date_saved": datetime.datetime.now().strftime("%Y-%m-%d@%H:%M:%S"),
        "tasks": ["MaskedLM", "TextClassifier"],
    }
    write_json(preset_dir, "config.json", describe(backbone), indent=4)
    write_json(preset_dir, "metadata.json", metadata, indent=4)
    save_weights(backbone, os.path.join(preset_dir, "model.weights.h5"))
    if model is not backbone:
        write_json(preset_dir, "task.json", describe(model), indent=4)
        save_weights(model, os.path.join(preset_dir, "task.weights.h5"), backbone)
    preprocessor = getattr(model, "preprocessor", None)
    if preprocessor is None:
        write_checksums(preset_dir, names_below(preset_dir))
    else:
        save_preprocessor(preprocessor, preset_dir)


def save_preprocessor(preprocessor: Any, preset_dir: str) -> None:
    """Writes ``preprocessor.json`` and the tokenizer."""
    write_json(preset_dir, "preprocessor.json", describe(preprocessor), indent=4)
    save_tokenizer(preprocessor.tokenizer, preset_dir)


def save_tokenizer(tokenizer: Any, preset_dir: str) -> None:
    """Writes ``tokenizer.json`` and ``assets/tokenizer/vocabulary.txt``."""
    write_json(preset_dir, "tokenizer.json", describe(tokenizer), indent=4)
    assets = os.path.join(preset_dir, "assets", "tokenizer")
    os.makedirs(assets, exist_ok=True)
    tokenizer.save_assets(assets)
    write_checksums(preset_dir, names_below(preset_dir))
