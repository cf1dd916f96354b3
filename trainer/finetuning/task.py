"""A fine-tuned preset: the model, and beside it the names of its classes and how its data was read."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines import files
from pipelines.errors import UserError
from pipelines.records.manifest import MANIFEST
from pipelines.records.shards import file_sha256
from trainer.finetuning.labels import Labelled, as_class_ids, as_numbers
from trainer.finetuning.scores import class_f1, confusion_matrix, score_classes, score_numbers

PRESET_FOLDER = "preset"
TASK_FILE = "bertmill_task.json"


@dataclass(frozen=True)
class FinetunedTask:
    """What fine-tuning made of a preset: the names of the classes, and how its data was read."""

    task: str
    classes: tuple[str, ...]
    text_field: str
    text_pair_field: str
    label_field: str
    seq_length: int


def preset_folder(preset: str) -> str:
    """The preset itself, where the output of a fine-tuning run was named."""
    inner = os.path.join(preset, PRESET_FOLDER)
    if os.path.isdir(inner) and not os.path.exists(os.path.join(preset, MANIFEST)):
        raise UserError(f"--preset: {preset} is not finished; run its trainer.finetune again")
    return inner if os.path.isdir(inner) else preset


def load_finetuned(preset: str) -> tuple[Any, Any, FinetunedTask]:
    """(first-token model, preprocessor, task) of a fine-tuned preset.

    Raises UserError if it is no preset, or one that was not fine-tuned.
    """
    from trainer.finetuning.first_token_model import build_first_token_model
    from trainer.models.bert_text_classifier import BertTextClassifier

    folder = preset_folder(preset)
    path = os.path.join(folder, TASK_FILE)
    if not os.path.exists(path):
        problem = "is no fine-tuned preset" if os.path.exists(folder) else "does not exist"
        raise UserError(
            f"--preset: {preset} {problem} (no {TASK_FILE}); name an output of trainer.finetune"
        )
    try:
        found = json.loads(Path(path).read_bytes())
        task = FinetunedTask(**{**found, "classes": tuple(found["classes"])})
    except (ValueError, TypeError, KeyError):
        raise UserError(f"{path} is damaged; fine-tune again with --overwrite") from None
    model = BertTextClassifier.from_preset(folder)
    return build_first_token_model(model), model.preprocessor, task


def fingerprints(infos: Sequence[files.FileInfo]) -> list[list[Any]]:
    """[size, SHA-256] of files, to recognise them wherever they lie."""
    return [[info.size, file_sha256(info.path)] for info in infos]


def preset_fingerprint(preset: str) -> Any:
    """What identifies a preset: its files if it is a folder (but not when they were saved)."""
    folder = preset_folder(preset)
    if not os.path.isdir(folder):
        return preset
    kept = [f for f in files.match([folder], "preset") if not f.path.endswith("metadata.json")]
    return fingerprints(kept)


def labels_of(task: FinetunedTask, data: Labelled, trained_on: str) -> NDArray[Any]:
    """int64[n] classes or float32[n] numbers. Raises UserError for labels that do not fit."""
    if task.task == "regression":
        return as_numbers(data)
    return as_class_ids(data, task.classes, trained_on)


def score(
    task: FinetunedTask, labels: NDArray[Any], outputs: NDArray[np.float32]
) -> dict[str, Any]:
    """The figures for ``labels`` (int64[n] classes or float32[n]) given the model's outputs."""
    if task.task == "regression":
        return {"examples": len(labels), **score_numbers(labels, outputs[:, 0])}
    loss = -np.log(np.maximum(probabilities(outputs)[np.arange(len(labels)), labels], 1e-30))
    scores = score_classes(labels, outputs.argmax(axis=1), len(task.classes))
    return {"examples": len(labels), **scores, "loss": float(loss.mean())}


def score_each_class(
    task: FinetunedTask, labels: NDArray[Any], outputs: NDArray[np.float32]
) -> dict[str, Any]:
    """``f1`` by class, and ``confusion`` (rows: labels, columns: predictions); {} for numbers."""
    if task.task == "regression":
        return {}
    confusion = confusion_matrix(labels, outputs.argmax(axis=1), len(task.classes))
    f1 = dict(zip(task.classes, class_f1(confusion).tolist(), strict=True))
    return {"f1": f1, "classes": list(task.classes), "confusion": confusion.tolist()}


def probabilities(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Softmax over the last axis."""
    powers = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)
