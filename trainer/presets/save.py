"""Writes presets: the files that KerasHub 0.32 writes, so that it and later versions read them."""

from __future__ import annotations

import datetime
import os
from typing import Any

import keras

from trainer.presets.describe import describe
from trainer.presets.json_files import write_json
from trainer.presets.weights import save_task_weights

# Whose format is written, for readers that look at it.
_KERAS_HUB_VERSION = "0.32.0"


def save_backbone(backbone: Any, preset_dir: str) -> None:
    """Writes ``config.json``, ``metadata.json`` and ``model.weights.h5``."""
    _write(preset_dir, "config.json", describe(backbone))
    metadata = {
        "keras_version": keras.__version__,
        "keras_hub_version": _KERAS_HUB_VERSION,
        "parameter_count": backbone.count_params(),
        "date_saved": datetime.datetime.now().strftime("%Y-%m-%d@%H:%M:%S"),
        "tasks": ["MaskedLM", "TextClassifier"],
    }
    _write(preset_dir, "metadata.json", metadata)
    backbone.save_weights(os.path.join(preset_dir, "model.weights.h5"))


def save_tokenizer(tokenizer: Any, preset_dir: str) -> None:
    """Writes ``tokenizer.json`` and ``assets/tokenizer/vocabulary.txt``."""
    _write(preset_dir, "tokenizer.json", describe(tokenizer))
    assets = os.path.join(preset_dir, "assets", "tokenizer")
    os.makedirs(assets, exist_ok=True)
    tokenizer.save_assets(assets)


def save_preprocessor(preprocessor: Any, preset_dir: str) -> None:
    """Writes ``preprocessor.json`` and the tokenizer."""
    _write(preset_dir, "preprocessor.json", describe(preprocessor))
    save_tokenizer(preprocessor.tokenizer, preset_dir)


def save_task(task: Any, preset_dir: str) -> None:
    """Writes ``task.json``, ``task.weights.h5``, the backbone and, if there is one, the preprocessor."""
    _write(preset_dir, "task.json", describe(task))
    save_task_weights(task, os.path.join(preset_dir, "task.weights.h5"))
    save_backbone(task.backbone, preset_dir)
    if task.preprocessor is not None:
        save_preprocessor(task.preprocessor, preset_dir)


def _write(preset_dir: str, name: str, content: dict[str, Any]) -> None:
    write_json(os.path.join(preset_dir, name), content, indent=4)
