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
import time
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np

from pipelines import files
from pipelines.command import RunOptions, say
from pipelines.documents.labelled import Fields
from pipelines.errors import UserError
from pipelines.options import deciding_fields
from pipelines.records.manifest import Manifest, finish_output, prepare_output
from trainer.finetuning.config import FinetuneConfig
from trainer.finetuning.encoded import describe_truncation
from trainer.finetuning.examples import (
    VALIDATION,
    Examples,
    Source,
    check_dataset,
    find_source,
    read_examples,
    split_off,
)
from trainer.finetuning.labels import class_names, encode_labels
from trainer.finetuning.output import (
    HISTORY,
    METRICS,
    RUNS,
    VALIDATION_TEXTS,
    FinishedRestarts,
    describe_runs,
    publish_preset,
    remove_remains,
    write_epoch,
    write_validation,
)
from trainer.finetuning.run import (
    Finetuning,
    RunResult,
    TaskData,
    load_fresh,
    restart_seed,
)
from trainer.finetuning.scores import score_each_class
from trainer.finetuning.task import PRESET_FOLDER, FinetunedTask, preset_fingerprint, preset_folder
from trainer.pretraining.startup import restart_with_huge_pages, run_trainer_command

os.environ.setdefault("KERAS_BACKEND", "jax")

_say = partial(say, "finetune")
_SEQ_LENGTH = 128


def finetune(config: FinetuneConfig, options: RunOptions) -> dict[str, Any] | None:
    """Runs the stage. Returns the final validation figures, or None where nothing was to do."""
    started = time.time()
    config.check()

    # ---------------------------------------------------------------------------------- Data
    train_source = find_source(config.train, "train")
    sources = [train_source]
    if config.validation:
        sources.append(find_source(config.validation, "validation"))
    preprocessor, fields = _prepare_reading(config, sources)
    classes, train, validation = _read(config, sources, fields, preprocessor)
    seq_length = preprocessor.sequence_length
    task = FinetunedTask(
        config.task, tuple(classes), **dataclasses.asdict(fields), seq_length=seq_length
    )
    data = TaskData(
        classes,
        train.encoded,
        encode_labels(train.labels, train.places, classes, "--train"),
        validation.encoded,
        encode_labels(validation.labels, validation.places, classes, "--train"),
    )
    _say(_describe_data(data))

    # ------------------------------------------------------------------- What is asked for
    if options.dry_run:
        _say(f"would write {files.join(config.output, PRESET_FOLDER)}")
        return None
    asked = {**deciding_fields(config), "seq_length": seq_length}
    inputs = {
        "preset": preset_fingerprint(config.preset),
        "train": train_source.fingerprint(),
        "validation": sources[1].fingerprint() if config.validation else [],
    }
    output, overwrite = Path(config.output), options.overwrite
    if not overwrite and prepare_output(
        config.output, asked, inputs, overwrite=False, stage="finetune"
    ):
        _say(f"{config.output} is finished already; nothing to do")
        return None
    load = partial(load_fresh, config, preprocessor, len(classes))
    classifier = load(config.seed, "float32")
    finished = FinishedRestarts(output, asked, inputs)
    if overwrite:  # Only now that the new run is known to be possible.
        prepare_output(config.output, asked, inputs, overwrite=True, stage="finetune")
        finished.remove()
    remove_remains(output)
    _say(f"{classifier.count_params():,} parameters{describe_truncation(train.encoded)}")

    # ------------------------------------------------------------------------------ Restarts
    trained = classifier if config.dtype == "float32" else load(config.seed, config.dtype)
    finetuning = Finetuning(trained, classifier, data, config)
    results: list[RunResult] = []
    with open(output / HISTORY, "w", encoding="utf-8") as history:
        for restart in range(config.restarts):
            result = finished.find(restart)
            if result is not None:
                _say(f"run {restart + 1} of {config.restarts} was finished before")
                for epoch in result.history:
                    write_epoch(history, restart, result.seed, epoch)
            else:
                seed = restart_seed(config.seed, restart)
                if restart:
                    finetuning.begin_with(load(seed, config.dtype))
                result = finetuning.run(seed, partial(_note_epoch, config, history, restart, seed))
                if restart + 1 < config.restarts:
                    finished.keep(restart, result)
            results.append(result)

    # ------------------------------------------------------------------------------- Publish
    best = max(results, key=lambda result: config.quality(result.figures))
    classifier.set_weights(best.weights)
    if len(results) > 1:
        _say(
            f"published: the run with the best {config.chosen_metric}; being chosen by these very "
            "validation examples, its figures flatter it: quote the mean, or evaluate on other data"
        )
    report = {
        **best.figures,
        **score_each_class(classes, data.validation_labels, best.outputs),
    }
    for name, content in ((METRICS, report), (RUNS, describe_runs(config, results, best))):
        files.publish_bytes(str(output / name), (json.dumps(content, indent=1) + "\n").encode())
    if validation.texts is not None and not config.validation:
        write_validation(output / VALIDATION_TEXTS, validation.texts, fields)
    publish_preset(output, classifier, preprocessor, task)
    counts = {
        "examples_read": len(train) + len(validation) + train.dropped,
        "examples_train": len(train),
        "examples_validation": len(validation),
        "examples_dropped_empty": train.dropped,
        "examples_train_truncated": train.encoded.truncated,
        "examples_validation_truncated": validation.encoded.truncated,
    }
    manifest = Manifest("finetune", asked, counts, {"classes": classes, "metrics": best.figures})
    seconds = round(time.time() - started, 1)
    finished.remove()
    finish_output(config.output, manifest, inputs, {"seconds": seconds})
    _say(f"finished in {seconds:,} s: {config.output}")
    return report


def _prepare_reading(config: FinetuneConfig, sources: list[Source]) -> tuple[Any, Fields]:
    """The preset's preprocessor at the length to use, and where text and label stand."""
    from trainer.models.bert_text_classifier_preprocessor import BertTextClassifierPreprocessor

    preprocessor = BertTextClassifierPreprocessor.from_preset(preset_folder(config.preset))
    fields = Fields(config.text_field, config.text_pair_field, config.label_field)
    length = config.seq_length or _SEQ_LENGTH
    for source in reversed(sources):  # the training examples have the last word
        if source.dataset is None:
            continue
        check_dataset(source, preprocessor, config.seq_length)
        fields, length = source.fields(), source.dataset.facts["seq_length"]
        if config.text_pair_field and fields.text_pair_field != config.text_pair_field:
            raise UserError(
                f"--text_pair_field {config.text_pair_field}: {source.folder} was made with "
                f"{fields.text_pair_field or 'none'}; leave the flag out or tokenize again"
            )
    preprocessor.sequence_length = length
    return preprocessor, fields


def _read(
    config: FinetuneConfig, sources: list[Source], fields: Fields, preprocessor: Any
) -> tuple[list[str], Examples, Examples]:
    """The classes (none for a regression), the training and the validation examples."""
    check = partial(encode_labels, classes=(), trained_on="--train")
    numbers = config.task == "regression"
    train = read_examples(
        sources[0], fields, preprocessor, drop_empty=True, check=check if numbers else None
    )
    classes = [] if numbers else class_names(train.labels)
    if len(classes) == 1:
        raise UserError(
            f"--train: all {len(train):,} examples have the label {classes[0]!r}; two classes are "
            "needed (--task regression for numbers)"
        )
    if train.dropped:
        _say(f"{train.dropped:,} examples without text are left out")
    dataset = sources[-1].dataset
    if config.validation or (dataset is not None and dataset.rows(VALIDATION)):
        check = partial(encode_labels, classes=classes, trained_on="--train")
        return (
            classes,
            train,
            read_examples(sources[-1], fields, preprocessor, split=VALIDATION, check=check),
        )
    return classes, *split_off(train, config.validation_fraction, config.seed)


def _describe_data(data: TaskData) -> str:
    text = f"{len(data.train):,} training and {len(data.validation):,} validation examples"
    labels = data.train_labels
    if not data.classes:
        return f"{text}, labels from {labels.min():g} to {labels.max():g}"
    sizes = np.bincount(labels, minlength=len(data.classes)).tolist()
    named = [f"{name} {size:,}" for name, size in zip(data.classes, sizes, strict=True)]
    more = f", … ({len(named)} classes)" if len(named) > 20 else ""
    return f"{text}; training: {', '.join(named[:20])}{more}"


def _note_epoch(
    config: FinetuneConfig,
    history: IO[str],
    restart: int,
    seed: int,
    epoch: dict[str, Any],
    rate: float,
) -> None:
    write_epoch(history, restart, seed, epoch)
    figures = epoch["validation"]
    names = ("accuracy", "macro_f1", "loss", "pearson", "spearman")
    shown = ", ".join(f"{name} {figures[name]:.4f}" for name in names if name in figures)
    run = f"run {restart + 1} of {config.restarts}, " if config.restarts > 1 else ""
    _say(
        f"{run}epoch {epoch['epoch']} of {config.epochs}: loss {epoch['train_loss']:.4f}; "
        f"validation {shown}; {rate:,.0f} examples/s"
    )


if __name__ == "__main__":
    restart_with_huge_pages()
    run_trainer_command(FinetuneConfig, finetune, "finetune")
