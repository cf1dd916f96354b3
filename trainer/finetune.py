"""``python -m trainer.finetune``: a preset and labelled examples to a fine-tuned preset.

Examples are raw texts, encoded once up front, or a dataset that ``pipelines.tokenize --packing
examples`` has encoded; the result is the same, bit for bit. The output holds ``preset`` (which KerasHub
loads too, with the names of the classes beside it), ``metrics.json``, ``runs.json`` (every restart,
mean and spread), ``history.jsonl`` and, where validation texts were split off, ``validation.jsonl``.
Runs on JAX without TensorFlow installed; KERAS_BACKEND names another backend.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines import files
from pipelines.command import RunOptions, run_command
from pipelines.documents.labelled import Fields
from pipelines.errors import UserError
from pipelines.records.manifest import Manifest, finish_output, prepare_output
from trainer.finetuning.cached_examples import check_cached, fields_of, find_cached
from trainer.finetuning.config import FinetuneConfig
from trainer.finetuning.encoded import describe_truncation
from trainer.finetuning.examples import (
    VALIDATION,
    Examples,
    fingerprint_examples,
    read_examples,
    split_off,
)
from trainer.finetuning.finished_restarts import FinishedRestarts
from trainer.finetuning.labels import Labelled, as_class_ids, as_numbers, class_names
from trainer.finetuning.output import (
    HISTORY,
    METRICS,
    RUNS,
    VALIDATION_TEXTS,
    describe_runs,
    publish_preset,
    remove_remains,
    write_validation,
)
from trainer.finetuning.run import Finetuning, RunResult, TaskData, put_weights, restart_seed
from trainer.finetuning.task import (
    PRESET_FOLDER,
    FinetunedTask,
    labels_of,
    preset_fingerprint,
    preset_folder,
    score_each_class,
)
from trainer.pretraining.startup import restart_with_huge_pages, with_lean_keras

os.environ.setdefault("KERAS_BACKEND", "jax")

_SEQ_LENGTH = 128


def finetune(config: FinetuneConfig, options: RunOptions) -> dict[str, Any] | None:
    """Runs the stage. Returns the final validation figures, or None where nothing was to do."""
    started = time.time()
    config.check()

    # ---------------------------------------------------------------------------------- Data
    preprocessor, fields = _prepare_reading(config)
    examples, validation = _read(config, preprocessor, fields)
    classes = class_names(examples.labels) if config.task == "classification" else []
    if len(classes) == 1:
        raise UserError(
            f"--train: all {len(examples):,} examples have the label {classes[0]!r}; two classes are "
            "needed (--task regression for numbers)"
        )
    if validation is None:
        examples, validation = split_off(examples, config.validation_fraction, config.seed)
    seq_length = preprocessor.sequence_length
    task = FinetunedTask(
        config.task, tuple(classes), **dataclasses.asdict(fields), seq_length=seq_length
    )
    data = TaskData(
        task,
        examples.encoded,
        labels_of(task, examples, "--train"),
        validation.encoded,
        labels_of(task, validation, "--train"),
    )
    _say(_describe_data(task, examples, validation, data.train_labels))

    # ------------------------------------------------------------------- What is asked for
    if options.dry_run:
        _say(f"would write {files.join(config.output, PRESET_FOLDER)}")
        return None
    asked = {**config.deciding_fields(), "seq_length": seq_length}
    inputs = {
        "preset": preset_fingerprint(config.preset),
        "train": fingerprint_examples(config.train, "train"),
        "validation": fingerprint_examples(config.validation, "validation")
        if config.validation
        else [],
    }
    output, overwrite = Path(config.output), options.overwrite
    if not overwrite and prepare_output(
        config.output, asked, inputs, overwrite=False, stage="finetune"
    ):
        _say(f"{config.output} is finished already; nothing to do")
        return None
    classifier = _load(config, preprocessor, len(classes), config.seed, "float32")
    finished = FinishedRestarts(output, asked, inputs)
    if overwrite:  # Only now that nothing is wrong with what was asked for.
        prepare_output(config.output, asked, inputs, overwrite=True, stage="finetune")
        finished.remove()
    remove_remains(output)
    _say(f"{classifier.count_params():,} parameters{describe_truncation(examples.encoded)}")

    # ------------------------------------------------------------------------------ Restarts
    trained = classifier
    if config.dtype != "float32":
        trained = _load(config, preprocessor, len(classes), config.seed, config.dtype)
    finetuning = Finetuning(trained, classifier, data, config)
    results: list[RunResult] = []
    with open(output / HISTORY, "w", encoding="utf-8") as history:
        for restart in range(config.restarts):
            seed = restart_seed(config.seed, restart)
            found = finished.find(restart)
            if found is not None:
                _say(f"run {restart + 1} of {config.restarts} was finished before")
                history.writelines(found[1])
                results.append(found[0])
                continue
            lines: list[str] = []
            if restart:
                finetuning.begin_with(_load(config, preprocessor, len(classes), seed, config.dtype))

            def note(
                epoch: int,
                loss: float,
                figures: dict[str, Any],
                rate: float,
                seed: int = seed,
                restart: int = restart,
                lines: list[str] = lines,
            ) -> None:
                line = {"epoch": epoch, "train_loss": loss, "validation": figures}
                lines.append(json.dumps({"restart": restart, "seed": seed, **line}) + "\n")
                history.write(lines[-1])
                history.flush()
                run = f"run {restart + 1} of {config.restarts}, " if config.restarts > 1 else ""
                _say(
                    f"{run}epoch {epoch} of {config.epochs}: loss {loss:.4f}; validation "
                    f"{_describe_figures(figures)}; {rate:,.0f} examples/s"
                )

            results.append(finetuning.run(seed, note))
            if restart + 1 < config.restarts:
                finished.keep(restart, results[-1], lines)

    # ------------------------------------------------------------------------------- Publish
    best = max(results, key=lambda result: config.quality(result.figures))
    put_weights(classifier, best.weights)
    if len(results) > 1:
        _say(
            f"published: the run with the best {config.chosen_metric}; being chosen by these very "
            "validation examples, its figures flatter it: quote the mean, or evaluate on other data"
        )
    each_class = score_each_class(task, data.validation_labels, best.outputs)
    report = {**best.figures, **each_class}
    for name, content in ((METRICS, report), (RUNS, describe_runs(config, results, best))):
        files.publish_bytes(str(output / name), (json.dumps(content, indent=1) + "\n").encode())
    if validation.texts is not None and not config.validation:
        write_validation(output / VALIDATION_TEXTS, validation.texts, fields)
    publish_preset(output, classifier, preprocessor, task)
    counts = {
        "examples_read": len(examples) + len(validation) + examples.dropped,
        "examples_train": len(examples),
        "examples_validation": len(validation),
        "examples_dropped_empty": examples.dropped,
        "examples_train_truncated": examples.encoded.truncated,
        "examples_validation_truncated": validation.encoded.truncated,
    }
    manifest = Manifest("finetune", asked, counts, {"classes": classes, "metrics": best.figures})
    seconds = round(time.time() - started, 1)
    finished.remove()
    finish_output(config.output, manifest, inputs, {"seconds": seconds})
    _say(f"finished in {seconds:,} s: {config.output}")
    return report


def _prepare_reading(config: FinetuneConfig) -> tuple[Any, Fields]:
    """The preset's preprocessor at the length to use, and where text and label stand."""
    from trainer.models.bert_text_classifier_preprocessor import BertTextClassifierPreprocessor

    preprocessor = BertTextClassifierPreprocessor.from_preset(preset_folder(config.preset))
    fields = Fields(config.text_field, config.text_pair_field, config.label_field)
    length = config.seq_length or _SEQ_LENGTH
    for flag in ("validation", "train"):
        cached = find_cached(getattr(config, flag), flag)
        if cached is None:
            continue
        check_cached(*cached, preprocessor, config.seq_length, flag)
        found = fields_of(cached[1])
        if config.text_pair_field and found.text_pair_field != config.text_pair_field:
            raise UserError(
                f"--text_pair_field {config.text_pair_field}: {cached[0]} was made with "
                f"{found.text_pair_field or 'none'}; leave the flag out or tokenize again"
            )
        fields, length = found, cached[1].facts["seq_length"]
    preprocessor.sequence_length = length
    return preprocessor, fields


def _read(
    config: FinetuneConfig, preprocessor: Any, fields: Fields
) -> tuple[Examples, Examples | None]:
    """Training examples, and those to validate with where they need not be split off."""
    numbers = config.task == "regression"
    examples = read_examples(
        config.train,
        fields,
        preprocessor,
        "train",
        drop_empty=True,
        check=as_numbers if numbers else None,
    )
    classes = [] if numbers else class_names(examples.labels)

    def check(data: Labelled) -> Any:
        return as_numbers(data) if numbers else as_class_ids(data, classes, "--train")

    if examples.dropped:
        _say(f"{examples.dropped:,} examples without text are left out")
    if config.validation:
        return examples, read_examples(
            config.validation, fields, preprocessor, "validation", split=VALIDATION, check=check
        )
    cached = find_cached(config.train, "train")
    if cached is not None and cached[1].rows(VALIDATION):
        return examples, read_examples(
            config.train, fields, preprocessor, "train", split=VALIDATION, check=check
        )
    return examples, None


def _load(config: FinetuneConfig, preprocessor: Any, classes: int, seed: int, dtype: str) -> Any:
    """A classifier with a fresh last layer, and fresh weights if so asked."""
    import keras

    from trainer.models.bert_backbone import BertBackbone
    from trainer.models.bert_text_classifier import BertTextClassifier
    from trainer.presets.weights import check_vocabulary

    keras.utils.set_random_seed(seed)
    folder = preset_folder(config.preset)
    dropout = {} if config.dropout is None else {"dropout": config.dropout}
    backbone = BertBackbone.from_preset(
        folder, load_weights=not config.from_scratch, dtype=dtype, **dropout
    )
    check_vocabulary(backbone, preprocessor, folder)
    longest = backbone.max_sequence_length
    if preprocessor.sequence_length > longest:
        raise UserError(
            f"--seq_length {preprocessor.sequence_length}: the preset has {longest} positions; "
            "lower it"
        )
    # Texts are encoded up front; the model itself gets arrays.
    return BertTextClassifier(backbone, max(1, classes), preprocessor=None, **dropout)


def _describe_data(
    task: FinetunedTask, train: Examples, validation: Examples, labels: NDArray[Any]
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


def _say(text: str) -> None:
    print(f"finetune: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    restart_with_huge_pages()
    run_command(
        FinetuneConfig, with_lean_keras(finetune), stage="finetune", module="trainer.finetune"
    )
