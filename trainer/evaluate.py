"""``python -m trainer.evaluate``: how right a fine-tuned preset is on labelled data.

What fine-tuning, evaluating and predicting share is here: loading a fine-tuned preset with the
names of its classes, encoding texts once up front, and running batches of few different lengths, so
that short texts cost little and few shapes are compiled. Runs on JAX without TensorFlow installed.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tabulate import tabulate
from tqdm import tqdm

from pipelines import files
from pipelines.command import RunOptions, run_command
from pipelines.errors import UserError
from pipelines.manifest import MANIFEST, Manifest, finish_output, prepare_output
from pipelines.shards import file_sha256
from trainer.labelled_data import LabelledTexts, as_class_ids, as_numbers, read_labelled
from trainer.lean_keras import with_lean_keras
from trainer.scores import class_f1, confusion_matrix, score_classes, score_numbers

os.environ.setdefault("KERAS_BACKEND", "jax")

PRESET_FOLDER = "preset"
TASK_FILE = "bertmill_task.json"
# Each is compiled once. Reviews of 3 to 512 tokens then hold 14 % padding (32 would leave 9 %).
_BUCKETS = 8
_FIELDS = ("text_field", "text_pair_field", "label_field")


@dataclass(frozen=True)
class EvaluateConfig:
    """Measure a fine-tuned preset on labelled texts.

    Prints the figures; with --output also writes metrics.json.
    """

    preset: str = ""
    """An output of trainer.finetune, or the preset folder in it."""
    data: tuple[str, ...] = ()
    """Labelled texts: files, folders or patterns (.jsonl, .csv, .tsv, .parquet, also .gz)."""
    output: str = ""
    """Folder to write metrics.json to; empty: only print."""
    text_field: str = ""
    """Field of the text; empty: as in fine-tuning."""
    text_pair_field: str = ""
    """Field of the second text; empty: as in fine-tuning."""
    label_field: str = ""
    """Field of the label; empty: as in fine-tuning."""
    batch_size: int = 64
    """Texts in a batch; the figures do not depend on it."""


@dataclass(frozen=True)
class FinetunedTask:
    """What fine-tuning made of a preset: the names of the classes, and how its data was read."""

    task: str
    classes: tuple[str, ...]
    text_field: str
    text_pair_field: str
    label_field: str
    seq_length: int


@dataclass(frozen=True)
class EncodedTexts:
    """n texts as the inputs of the model.

    ``token_ids`` and ``segment_ids`` int32[n, seq_length], padded; ``lengths`` int64[n] with the
    special tokens; ``truncated``: how many texts were longer and have lost their end.
    """

    token_ids: NDArray[np.int32]
    segment_ids: NDArray[np.int32]
    lengths: NDArray[np.int64]
    truncated: int

    def __len__(self) -> int:
        return len(self.lengths)

    def batch(self, rows: NDArray[np.int64], size: int) -> dict[str, NDArray[Any]]:
        """The model's inputs [size, length] for up to ``size`` texts, filled up with the first.

        ``length`` is the shortest of ``bucket_lengths`` that holds them all.
        """
        length = int(self.lengths[rows].max())
        length = next(n for n in bucket_lengths(self.token_ids.shape[1]) if n >= length)
        rows = np.concatenate([rows, np.repeat(rows[:1], size - len(rows))])
        return {
            "token_ids": self.token_ids[rows, :length],
            "segment_ids": self.segment_ids[rows, :length],
            "padding_mask": np.arange(length) < self.lengths[rows, None],
        }


def bucket_lengths(seq_length: int) -> list[int]:
    """The lengths that batches may have: up to eight, evenly spaced, all but the last of eights.

    >>> bucket_lengths(200)
    [32, 64, 96, 128, 160, 192, 200]
    """
    step = 8 * -(-seq_length // (8 * _BUCKETS))
    return [*range(step, seq_length, step), seq_length]


def encode_texts(preprocessor: Any, data: LabelledTexts) -> EncodedTexts:
    """Tokenizes and packs all texts, cut to the preprocessor's ``sequence_length``."""
    from trainer.layers.multi_segment_packer import MultiSegmentPacker

    tokenizer, seq_length = preprocessor.tokenizer, preprocessor.sequence_length
    segments = [tokenizer.tokenize_texts(data.texts)]
    if data.pairs is not None:
        segments.append(tokenizer.tokenize_texts(data.pairs))
    packer = MultiSegmentPacker(
        sequence_length=seq_length,
        start_value=tokenizer.start_token_id,
        end_value=tokenizer.end_token_id,
        pad_value=tokenizer.pad_token_id,
        truncate=preprocessor.truncate,
    )
    token_ids, segment_ids = packer(tuple(segments))
    whole = np.sum([[len(ids) + 1 for ids in segment] for segment in segments], axis=0) + 1
    return EncodedTexts(
        np.asarray(token_ids, np.int32),
        np.asarray(segment_ids, np.int32),
        np.minimum(whole, seq_length),
        int((whole > seq_length).sum()),
    )


def batches_by_length(
    lengths: NDArray[np.int64], order: NDArray[np.int64], batch_size: int, pool: int
) -> list[NDArray[np.int64]]:
    """Cuts rows into batches: sorted by length within every ``pool`` batches of ``order``."""
    batches = []
    for start in range(0, len(order), batch_size * pool):
        rows = order[start : start + batch_size * pool]
        rows = rows[np.argsort(lengths[rows], kind="stable")]
        batches += [rows[i : i + batch_size] for i in range(0, len(rows), batch_size)]
    return batches


def run_model(model: Any, encoded: EncodedTexts, batch_size: int) -> NDArray[np.float32]:
    """The model's outputs float32[n, classes] (logits, or the number of a regression).

    ``model`` is a ``BertTextClassifier`` or its ``first_token_model``.
    """
    order = np.arange(len(encoded))
    outputs = np.zeros((len(encoded), model.output_shape[-1]), np.float32)
    batches = batches_by_length(encoded.lengths, order, batch_size, pool=len(order))
    for rows in tqdm(batches, desc="predicting", leave=False, disable=None):
        outputs[rows] = model.predict_on_batch(encoded.batch(rows, batch_size))[: len(rows)]
    return outputs


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


def labels_of(task: FinetunedTask, data: LabelledTexts, trained_on: str) -> NDArray[Any]:
    """int64[n] classes or float32[n] numbers. Raises UserError for labels that do not fit."""
    if task.task == "regression":
        return as_numbers(data)
    return as_class_ids(data, task.classes, trained_on)


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
    from trainer.first_token_model import build_first_token_model
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


def describe_truncation(encoded: EncodedTexts) -> str:
    """A clause for people, or nothing."""
    if not encoded.truncated:
        return ""
    share, longest = encoded.truncated / len(encoded), encoded.token_ids.shape[1]
    return f"; {encoded.truncated:,} ({share:.1%}) longer than {longest} tokens lose their end"


def evaluate(config: EvaluateConfig, options: RunOptions) -> dict[str, Any] | None:
    """Runs the stage. Returns the figures, or None where there was nothing to do."""
    started = time.time()
    if not config.preset or not config.data:
        raise UserError("--preset and --data: name a fine-tuned preset and labelled files")
    if config.batch_size < 1:
        raise UserError(f"--batch_size {config.batch_size}: must be at least 1")
    infos = files.match(config.data, "data")
    if options.dry_run:
        _say(f"would read {len(infos)} files and write {config.output or 'nothing'}")
        return None
    asked = {name: getattr(config, name) for name in _FIELDS}
    inputs = {"preset": preset_fingerprint(config.preset), "data": fingerprints(infos)}
    if config.output and prepare_output(
        config.output, asked, inputs, overwrite=options.overwrite, stage="evaluate"
    ):
        _say(f"{config.output} is finished already; nothing to do")
        return None
    model, preprocessor, task = load_finetuned(config.preset)
    fields = {name: value or getattr(task, name) for name, value in asked.items()}
    data = read_labelled(config.data, **fields, flag="data")
    labels = labels_of(task, data, "fine-tuning")
    encoded = encode_texts(preprocessor, data)
    _say(f"{len(data):,} texts{describe_truncation(encoded)}")
    outputs = run_model(model, encoded, config.batch_size)
    figures = score(task, labels, outputs)
    report = {**figures, "truncated": encoded.truncated, **score_each_class(task, labels, outputs)}
    if config.output:
        path = files.join(config.output, "metrics.json")
        files.publish_bytes(path, (json.dumps(report, indent=1) + "\n").encode())
        counts = {"texts": len(data), "texts_truncated": encoded.truncated}
        manifest = Manifest("evaluate", asked, counts, {"metrics": figures})
        run = {"seconds": round(time.time() - started, 1)}
        finish_output(config.output, manifest, inputs, run)
    print(tabulate(list(figures.items()), floatfmt=".4f", tablefmt="plain"))
    if "f1" in report and len(task.classes) > 2:
        print(tabulate(list(report["f1"].items()), ["class", "f1"], floatfmt=".4f"))
    return report


def _say(text: str) -> None:
    print(f"evaluate: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    run_command(
        EvaluateConfig, with_lean_keras(evaluate), stage="evaluate", module="trainer.evaluate"
    )
