"""``python -m trainer.finetune``: a preset and labelled texts to a fine-tuned preset.

Texts are encoded once up front; which examples make up a batch follows from (seed, epoch) alone.
The output holds ``preset`` (which KerasHub loads too, with the names of the classes beside it),
``metrics.json``, ``history.jsonl`` and, where validation examples were split off,
``validation.jsonl``. Runs on JAX without TensorFlow installed; KERAS_BACKEND names another backend.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from pipelines import files
from pipelines.command import RunOptions, run_command
from pipelines.errors import UserError
from pipelines.keyed_random import fold, purpose_key, uniform
from pipelines.manifest import Manifest, finish_output, prepare_output
from trainer.evaluate import (
    PRESET_FOLDER,
    TASK_FILE,
    EncodedTexts,
    FinetunedTask,
    batches_by_length,
    describe_truncation,
    encode_texts,
    fingerprints,
    labels_of,
    preset_fingerprint,
    preset_folder,
    run_model,
    score,
    score_each_class,
)
from trainer.labelled_data import LabelledTexts, class_names, read_labelled
from trainer.lean_keras import with_lean_keras

os.environ.setdefault("KERAS_BACKEND", "jax")

METRICS, HISTORY, VALIDATION = "metrics.json", "history.jsonl", "validation.jsonl"
_UNFINISHED_PRESET = "preset.unfinished"
# Batches are sorted by length within so many: enough for even lengths, few enough to stay mixed.
_POOL = 32
_WARMUP, _WEIGHT_DECAY, _CLIP_NORM = 0.1, 0.01, 1.0
_MISSING = {
    "preset": "name what to start from, an output of trainer.export",
    "train": "name files with labelled texts",
    "output": "name the folder to write to",
}
_NOT_DECIDING = ("preset", "train", "validation", "output")


@dataclasses.dataclass(frozen=True)
class FinetuneConfig:
    """Fine-tune a preset to classify texts or pairs of texts, or to give them numbers.

    Optimizer: AdamW, linear warm-up over a tenth of the steps, then linear decay to zero.
    """

    preset: str = ""
    """What to start from: an output of trainer.export, a KerasHub preset (folder or name)."""
    train: tuple[str, ...] = ()
    """Training examples: files, folders or patterns (.jsonl, .csv, .tsv, .parquet, also .gz)."""
    validation: tuple[str, ...] = ()
    """Validation examples; without them, --validation_fraction of the training examples."""
    validation_fraction: float = 0.1
    """Share of the training examples to validate with where --validation is not given."""
    task: Literal["classification", "regression"] = "classification"
    """Whether labels are the names of classes or numbers."""
    text_field: str = "text"
    """Field of the text; in a table without a header the number of its column, from 1."""
    text_pair_field: str = ""
    """Field of a second text, for tasks on pairs."""
    label_field: str = "label"
    """Field of the label."""
    output: str = ""
    """Folder to write to."""
    epochs: int = 3
    """Passes over the training examples."""
    batch_size: int = 32
    """Examples in a step."""
    learning_rate: float = 5e-5
    """Highest learning rate; 3e-4 suits bert_tiny and bert_mini, 2e-5 bert_large."""
    seq_length: int = 128
    """Most tokens of a text (or pair) that are used, special tokens included."""
    seed: int = 0
    """Decides the new layer's weights, the order of examples, dropout and the split."""
    from_scratch: bool = False
    """Start from random weights of the same architecture, to compare with."""


def finetune(config: FinetuneConfig, options: RunOptions) -> dict[str, Any] | None:
    """Runs the stage. Returns the final validation figures, or None where nothing was to do."""
    started = time.time()
    _check(config)

    # ---------------------------------------------------------------------------------- Data
    fields = {
        "text_field": config.text_field,
        "text_pair_field": config.text_pair_field,
        "label_field": config.label_field,
    }
    train, dropped = _without_empty(read_labelled(config.train, **fields, flag="train"))
    classes = class_names(train.labels or []) if config.task == "classification" else []
    if len(classes) == 1:
        raise UserError(
            f"--train: all {len(train):,} examples have the label {classes[0]!r}; two classes are "
            "needed (--task regression for numbers)"
        )
    if config.validation:
        validation = read_labelled(config.validation, **fields, flag="validation")
    else:
        train, validation = _split(train, config.validation_fraction, config.seed)
    task = FinetunedTask(config.task, tuple(classes), **fields, seq_length=config.seq_length)
    train_labels = labels_of(task, train, "--train")
    validation_labels = labels_of(task, validation, "--train")
    _say(_describe_data(task, train, validation, train_labels))

    # ------------------------------------------------------------------- What is asked for
    if options.dry_run:
        _say(f"would write {files.join(config.output, PRESET_FOLDER)}")
        return None
    asked = dataclasses.asdict(config)
    asked = {name: value for name, value in asked.items() if name not in _NOT_DECIDING}
    inputs = {
        "preset": preset_fingerprint(config.preset),
        "train": fingerprints(files.match(config.train, "train")),
        "validation": fingerprints(files.match(config.validation)) if config.validation else [],
    }
    output, overwrite = Path(config.output), options.overwrite
    if not overwrite and prepare_output(
        config.output, asked, inputs, overwrite=False, stage="finetune"
    ):
        _say(f"{config.output} is finished already; nothing to do")
        return None

    # --------------------------------------------------------------------------------- Model
    import keras

    from trainer.first_token_model import build_first_token_model
    from trainer.optimizer import build_optimizer
    from trainer.schedule import WarmupThenDecay

    keras.utils.set_random_seed(config.seed)
    classifier, preprocessor = _load(config, num_classes=max(1, len(classes)))
    model = build_first_token_model(classifier)
    if overwrite:  # Only now that nothing is wrong with what was asked for.
        prepare_output(config.output, asked, inputs, overwrite=True, stage="finetune")
    _remove_remains(output)
    encoded, encoded_validation = (encode_texts(preprocessor, data) for data in (train, validation))
    _say(
        f"{model.count_params():,} parameters, {keras.config.backend()}"
        f"{describe_truncation(encoded)}"
    )

    # ----------------------------------------------------------------------------- Optimizer
    steps = config.epochs * math.ceil(len(train) / config.batch_size)
    model.compile(
        optimizer=build_optimizer(
            "adamw",
            model.trainable_variables,
            schedule=WarmupThenDecay(config.learning_rate, int(steps * _WARMUP), steps),
            weight_decay=_WEIGHT_DECAY,
            clip_norm=_CLIP_NORM,
        ),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        if classes
        else keras.losses.MeanSquaredError(),
        metrics=[],
    )

    # ---------------------------------------------------------------------------------- Loop
    figures: dict[str, Any] = {}
    with open(output / HISTORY, "w", encoding="utf-8") as history:
        for epoch in range(config.epochs):
            began = time.perf_counter()
            loss = _train_epoch(model, encoded, train_labels, config, epoch)
            rate = len(train) / (time.perf_counter() - began)
            outputs = run_model(model, encoded_validation, 2 * config.batch_size)
            figures = score(task, validation_labels, outputs)
            line = {"epoch": epoch + 1, "train_loss": loss, "validation": figures}
            history.write(json.dumps(line) + "\n")
            history.flush()
            _say(
                f"epoch {epoch + 1} of {config.epochs}: loss {loss:.4f}; validation "
                f"{_describe_figures(figures)}; {rate:,.0f} examples/s"
            )

    # ------------------------------------------------------------------------------- Publish
    report = {**figures, **score_each_class(task, validation_labels, outputs)}
    files.publish_bytes(str(output / METRICS), (json.dumps(report, indent=1) + "\n").encode())
    if not config.validation:
        _write_validation(output / VALIDATION, validation, fields)
    _publish_preset(output, classifier, preprocessor, task)
    counts = {
        "examples_read": len(train) + len(validation) + dropped,
        "examples_train": len(train),
        "examples_validation": len(validation),
        "examples_dropped_empty": dropped,
        "examples_train_truncated": encoded.truncated,
        "examples_validation_truncated": encoded_validation.truncated,
    }
    manifest = Manifest("finetune", asked, counts, {"classes": classes, "metrics": figures})
    seconds = round(time.time() - started, 1)
    finish_output(config.output, manifest, inputs, {"seconds": seconds})
    _say(f"finished in {seconds:,} s: {config.output}")
    return report


def epoch_batches(
    lengths: NDArray[np.int64], batch_size: int, seed: int, epoch: int
) -> list[NDArray[np.int64]]:
    """The batches of an epoch: every row once, mixed anew each epoch, alike in length."""
    key = fold(purpose_key(seed, "fine-tuning order"), epoch)
    order = np.argsort(fold(key, 0, np.arange(len(lengths))), kind="stable")
    batches = batches_by_length(lengths, order, batch_size, _POOL)
    return [batches[i] for i in np.argsort(fold(key, 1, np.arange(len(batches))), kind="stable")]


def _train_epoch(
    model: Any, encoded: EncodedTexts, labels: NDArray[Any], config: FinetuneConfig, epoch: int
) -> float:
    """One pass; returns the mean loss. Raises UserError if it is no longer a number."""
    model.reset_metrics()
    loss = math.nan
    size = config.batch_size
    batches = epoch_batches(encoded.lengths, size, config.seed, epoch)
    with tqdm(batches, f"epoch {epoch + 1}", unit="step", leave=False, disable=None) as bar:
        for rows in bar:
            # A batch that is not full is filled up with rows of no weight: one shape compiled less.
            filled = np.concatenate([rows, np.repeat(rows[:1], size - len(rows))])
            weights = (np.arange(size) < len(rows)).astype(np.float32)
            inputs = encoded.batch(rows, size)
            loss = float(model.train_on_batch(inputs, labels[filled], sample_weight=weights))
            if not math.isfinite(loss):
                raise UserError(
                    f"the loss is {loss} in epoch {epoch + 1}; lower --learning_rate "
                    f"{config.learning_rate:g}"
                )
            bar.set_postfix_str(f"loss {loss:.4f}", refresh=False)
    return loss


def _load(config: FinetuneConfig, num_classes: int) -> tuple[Any, Any]:
    from trainer.models.bert_text_classifier import BertTextClassifier

    model = BertTextClassifier.from_preset(
        preset_folder(config.preset), load_weights=not config.from_scratch, num_classes=num_classes
    )
    longest = model.backbone.max_sequence_length
    if config.seq_length > longest:
        raise UserError(
            f"--seq_length {config.seq_length}: the preset has {longest} positions; lower it"
        )
    # Texts are encoded up front; the model itself gets arrays.
    preprocessor, model.preprocessor = model.preprocessor, None
    preprocessor.sequence_length = config.seq_length
    return model, preprocessor


def _publish_preset(output: Path, model: Any, preprocessor: Any, task: FinetunedTask) -> None:
    unfinished = output / _UNFINISHED_PRESET
    model.preprocessor = preprocessor
    model.compile()  # The optimizer's state is no part of a preset.
    model.save_to_preset(str(unfinished))
    text = json.dumps(dataclasses.asdict(task), indent=1, ensure_ascii=False) + "\n"
    (unfinished / TASK_FILE).write_text(text, "utf-8")
    unfinished.rename(output / PRESET_FOLDER)


def _remove_remains(output: Path) -> None:
    """Of an interrupted run, or of the one that is overwritten."""
    for name in (METRICS, HISTORY, VALIDATION):
        (output / name).unlink(missing_ok=True)
    for name in (PRESET_FOLDER, _UNFINISHED_PRESET):
        shutil.rmtree(output / name, ignore_errors=True)


def _without_empty(data: LabelledTexts) -> tuple[LabelledTexts, int]:
    """Leaves out examples without text, and says so."""
    empty = data.empty()
    if not empty:
        return data, 0
    if len(empty) == len(data):
        raise UserError("--train: all texts are empty; check --text_field and the files")
    _say(f"{len(empty):,} examples without text are left out (the first: {data.places[empty[0]]})")
    return data.select(np.setdiff1d(np.arange(len(data)), empty)), len(empty)


def _split(data: LabelledTexts, fraction: float, seed: int) -> tuple[LabelledTexts, LabelledTexts]:
    """Splits off validation examples by their texts: equal texts stay on one side."""
    pairs = data.pairs or [""] * len(data)
    digests = [
        hashlib.blake2b(f"{text}\0{pair}".encode("utf-8", "replace"), digest_size=8).digest()
        for text, pair in zip(data.texts, pairs, strict=True)
    ]
    keys = np.frombuffer(b"".join(digests), "<u8")
    chosen = uniform(fold(purpose_key(seed, "fine-tuning validation"), keys)) < fraction
    if chosen.all() or not chosen.any():
        raise UserError(
            f"--validation_fraction {fraction}: leaves training or validation without examples "
            f"({len(data):,} in all); name files with --validation"
        )
    return data.select(np.flatnonzero(~chosen)), data.select(np.flatnonzero(chosen))


def _write_validation(path: Path, data: LabelledTexts, fields: dict[str, str]) -> None:
    """Writes the examples that were split off, as trainer.evaluate reads them."""
    columns = {fields["text_field"]: data.texts, fields["label_field"]: data.labels or []}
    if data.pairs is not None:
        columns[fields["text_pair_field"]] = data.pairs
    rows = ({name: values[i] for name, values in columns.items()} for i in range(len(data)))
    lines = [json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in rows]
    files.publish_bytes(str(path), "".join(lines).encode("utf-8", "replace"))


def _describe_data(
    task: FinetunedTask, train: LabelledTexts, validation: LabelledTexts, labels: NDArray[Any]
) -> str:
    text = f"{len(train):,} training and {len(validation):,} validation examples"
    if task.task == "regression":
        return f"{text}, labels from {labels.min():g} to {labels.max():g}"
    sizes = np.bincount(labels, minlength=len(task.classes)).tolist()
    named = [f"{name} {size:,}" for name, size in zip(task.classes, sizes, strict=True)]
    more = f", … ({len(named)} classes)" if len(named) > 20 else ""
    return f"{text}; training: {', '.join(named[:20])}{more}"


def _describe_figures(figures: dict[str, Any]) -> str:
    names = ("accuracy", "macro_f1", "loss", "pearson", "spearman")
    return ", ".join(f"{name} {figures[name]:.4f}" for name in names if name in figures)


def _check(config: FinetuneConfig) -> None:
    for name in ("preset", "train", "output"):
        if not getattr(config, name):
            raise UserError(f"--{name} is missing: {_MISSING[name]}")
    for name in ("epochs", "batch_size"):
        if getattr(config, name) < 1:
            raise UserError(f"--{name} {getattr(config, name)}: must be at least 1")
    if config.seq_length < 4:
        raise UserError(f"--seq_length {config.seq_length}: must be at least 4")
    if not (config.learning_rate > 0 and math.isfinite(config.learning_rate)):
        raise UserError(f"--learning_rate {config.learning_rate}: must be a positive number")
    if not 0 < config.validation_fraction < 1:
        raise UserError(
            f"--validation_fraction {config.validation_fraction}: must be between 0 and 1"
        )
    if not 0 <= config.seed < 1 << 32:
        raise UserError(f"--seed {config.seed}: must be between 0 and 4294967295")


def _say(text: str) -> None:
    print(f"finetune: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    run_command(
        FinetuneConfig, with_lean_keras(finetune), stage="finetune", module="trainer.finetune"
    )
