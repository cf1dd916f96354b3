"""A fine-tuned preset: the model, and beside it the names of its classes and how its data was read."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines import files
from pipelines.errors import UserError
from pipelines.records.manifest import MANIFEST
from pipelines.records.shards import file_sha256

PRESET_FOLDER = "preset"
TASK_FILE = "bertmill_task.json"


@dataclass(frozen=True)
class FinetunedTask:
    """What fine-tuning made of a preset: the names of the classes, and how its data was read.

    A regression has no classes.
    """

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
    """(first-token classifier, preprocessor, task) of a fine-tuned preset.

    Raises UserError if it is no preset, or one that was not fine-tuned.
    """
    from trainer.models.bert_text_classifier import BertTextClassifier

    folder = preset_folder(preset)
    path = os.path.join(folder, TASK_FILE)
    if not os.path.exists(path):
        problem = "is no fine-tuned preset" if os.path.exists(folder) else "does not exist"
        raise UserError(
            f"--preset: {preset} {problem} (no {TASK_FILE}); name an output of trainer.finetune"
        )
    try:
        fields = json.loads(Path(path).read_bytes())
        task = FinetunedTask(**{**fields, "classes": tuple(fields["classes"])})
    except (ValueError, TypeError, KeyError):
        raise UserError(f"{path} is damaged; fine-tune again with --overwrite") from None
    classifier = BertTextClassifier.from_preset(folder)
    return first_token_classifier(classifier), classifier.preprocessor, task


def first_token_classifier(classifier: Any) -> Any:
    """The classifier as a model that computes its last layer for the first token alone.

    Only the vector of [CLS] is classified, so the outputs are the same; it saves half of a
    BERT-tiny's work and an eighth of a BERT-medium's. The layers are the classifier's own, not
    copies. Dropout in the last layer draws fewer numbers here, so the two drop different values.
    """
    import keras

    backbone = classifier.backbone
    inputs = {
        name: keras.Input(shape=(None,), dtype="int32", name=name)
        for name in ("token_ids", "segment_ids", "padding_mask")
    }
    first = keras.ops.zeros_like(inputs["token_ids"][:, :1])
    pooled = backbone.pooled_dense(backbone.encode_at(inputs, first)[:, 0])
    outputs = classifier.output_dense(classifier.output_dropout(pooled))
    return keras.Model(inputs, outputs, name="first_token_classifier")


def fingerprints(infos: Sequence[files.FileInfo]) -> list[list[Any]]:
    """[size, SHA-256] of files: what identifies them in whatever folder they are."""
    return [[info.size, file_sha256(info.path)] for info in infos]


def preset_fingerprint(preset: str) -> Any:
    """What identifies a preset: its files if it is a folder (but not when they were saved)."""
    folder = preset_folder(preset)
    if not os.path.isdir(folder):
        return preset
    kept = [f for f in files.match([folder], "preset") if not f.path.endswith("metadata.json")]
    return fingerprints(kept)
