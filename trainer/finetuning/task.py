"""A fine-tuned preset: the model, and beside it the names of its classes and how its data was read."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.errors import UserError
from pipelines.records.checksums import CHECKSUMS, check_folder, sha256_of
from pipelines.records.preset_folder import preset_folder
from pipelines.storage import files
from pipelines.storage.json_file import read_json

# Of a preset's files, those that tell when it was saved.
_DATED = ("metadata.json", CHECKSUMS)
TASK_FILE = "bertmill_task.json"
_AGAIN = "fine-tune again with --overwrite"


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
    long_texts: str = "cut"

    @property
    def in_windows(self) -> bool:
        """Whether long texts are read in windows."""
        return self.long_texts == "windows"


def load_finetuned(preset: str) -> tuple[Any, Any, FinetunedTask]:
    """(``reading_model``, preprocessor, task) of a fine-tuned preset.

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
    check_folder(folder)
    task = read_task(path)
    classifier = BertTextClassifier.from_preset(folder)
    if classifier.preprocessor is None or classifier.num_classes != max(1, len(task.classes)):
        raise UserError(
            f"{path}: has {len(task.classes)} classes, which the model beside it does not give; the "
            "files belong to different presets"
        )
    model = reading_model(classifier, in_windows=task.in_windows)
    return model, classifier.preprocessor, task


def read_task(path: str) -> FinetunedTask:
    """The task in a file. Raises UserError unless all of it can be what fine-tuning wrote."""
    fields = {"long_texts": "cut", **read_json(path, _AGAIN)}  # those of earlier versions cut
    classes = fields.get("classes")
    if not isinstance(classes, list) or not all(map(_is_text, classes)) or "" in classes:
        problem = "classes is not a list of names"
    elif len(set(classes)) < len(classes):
        problem = "two classes have one name"
    elif fields.get("task") != ("classification" if classes else "regression"):
        problem = f"task is {fields.get('task')!r} with {len(classes)} classes"
    elif fields.keys() != {field.name for field in dataclasses.fields(FinetunedTask)}:
        problem = "not the fields of a task"
    elif not all(
        _is_text(fields[name]) for name in ("text_field", "text_pair_field", "label_field")
    ):
        problem = "the name of a field is no text"
    elif type(fields["seq_length"]) is not int or fields["seq_length"] < 1:
        problem = "seq_length is not a length"
    elif fields["long_texts"] not in ("cut", "windows"):
        problem = f"long_texts is {fields['long_texts']!r}"
    else:
        return FinetunedTask(**{**fields, "classes": tuple(classes)})
    raise UserError(f"{path} is damaged: {problem}; {_AGAIN}")


def _is_text(value: Any) -> bool:
    """Whether this is text that can be written, as lone surrogates cannot."""
    return isinstance(value, str) and value.encode(errors="ignore").decode() == value


def reading_model(classifier: Any, *, in_windows: bool, shifted: bool = False) -> Any:
    """The classifier as a model of batches of ``EncodedTexts``; the layers are the classifier's own.

    ``shifted``: it takes ``shift`` too, which is added to the embedded tokens.
    """
    model = first_token_classifier(classifier, shifted=shifted)
    if not in_windows:
        return model
    from trainer.finetuning.window_average import WindowAverage

    return WindowAverage(model)


def first_token_classifier(classifier: Any, *, shifted: bool = False) -> Any:
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
    if shifted:
        dtype = backbone.embeddings_dropout.compute_dtype
        inputs["shift"] = keras.Input((None, backbone.hidden_dim), dtype=dtype, name="shift")
    encoded = backbone.encode_at(inputs, first, shift=inputs.get("shift"))
    pooled = backbone.pooled_dense(encoded[:, 0])
    outputs = classifier.output_dense(classifier.output_dropout(pooled))
    return keras.Model(inputs, outputs, name="first_token_classifier")


def fingerprints(infos: Sequence[files.FileInfo]) -> list[list[Any]]:
    """[size, SHA-256] of files: what identifies them in whatever folder they are."""
    return [[info.size, sha256_of(info.path)] for info in infos]


def preset_fingerprint(preset: str) -> Any:
    """What identifies a preset: its files if it is a folder (but not when they were saved)."""
    if not os.path.isdir(preset):
        return preset
    folder = preset_folder(preset)
    kept = [f for f in files.match([folder], "preset") if os.path.basename(f.path) not in _DATED]
    return fingerprints(kept)
