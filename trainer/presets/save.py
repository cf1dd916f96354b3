"""Writes presets: the files that KerasHub 0.32 writes, so that it and later versions read them."""

from __future__ import annotations

import datetime
import json
import os
from typing import Any

import keras

from trainer.presets.describe import describe
from trainer.presets.weights import save_task_weights

# Whose format is written, for readers that look at it.
_KERAS_HUB_VERSION = "0.32.0"


def save_backbone(backbone: Any, preset_dir: str) -> None:
    """Writes ``config.json``, ``metadata.json`` and ``model.weights.h5``."""
    _write_json(preset_dir, "config.json", describe(backbone))
    _write_json(
        preset_dir,
        "metadata.json",
        {
            "keras_version": keras.__version__,
            "keras_hub_version": _KERAS_HUB_VERSION,
            "parameter_count": backbone.count_params(),
            "date_saved": datetime.datetime.now().strftime("%Y-%m-%d@%H:%M:%S"),
            "tasks": ["MaskedLM", "TextClassifier"],
        },
    )
    backbone.save_weights(os.path.join(preset_dir, "model.weights.h5"))


def save_tokenizer(tokenizer: Any, preset_dir: str) -> None:
    """Writes ``tokenizer.json`` and ``assets/tokenizer/vocabulary.txt``."""
    _write_json(preset_dir, "tokenizer.json", describe(tokenizer))
    assets = os.path.join(preset_dir, "assets", "tokenizer")
    os.makedirs(assets, exist_ok=True)
    tokenizer.save_assets(assets)


def save_preprocessor(preprocessor: Any, preset_dir: str) -> None:
    """Writes ``preprocessor.json`` and the tokenizer."""
    _write_json(preset_dir, "preprocessor.json", describe(preprocessor))
    save_tokenizer(preprocessor.tokenizer, preset_dir)


def save_task(task: Any, preset_dir: str) -> None:
    """Writes ``task.json``, ``task.weights.h5``, the backbone and, if there is one, the preprocessor."""
    _write_json(preset_dir, "task.json", describe(task))
    save_task_weights(task, os.path.join(preset_dir, "task.weights.h5"))
    save_backbone(task.backbone, preset_dir)
    if task.preprocessor is not None:
        save_preprocessor(task.preprocessor, preset_dir)


def _write_json(preset_dir: str, name: str, content: dict[str, Any]) -> None:
    os.makedirs(preset_dir, exist_ok=True)
    with open(os.path.join(preset_dir, name), "w", encoding="utf-8", newline="\n") as file:
        json.dump(content, file, indent=4)
