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
import math
import os
import time
from functools import partial
from pathlib import Path
from typing import IO, Any

from pipelines.command.options import deciding_fields
from pipelines.command.run import RunOptions, say
from pipelines.documents.bad_record import BadRecords
from pipelines.records.preset_folder import PRESET_FOLDER, preset_folder
from pipelines.stage import StageRun
from pipelines.storage import files
from trainer.finetuning.config import FinetuneConfig
from trainer.finetuning.encoded import describe_truncation
from trainer.finetuning.output import (
    FILES,
    HISTORY,
    METRICS,
    RUNS,
    VALIDATION_TEXTS,
    FinishedRestarts,
    describe_runs,
    list_made,
    publish_preset,
    remove_remains,
    write_epoch,
    write_validation,
)
from trainer.finetuning.run import Finetuning, RunResult, load_fresh, restart_seed
from trainer.finetuning.scores import describe_certainty, name_figure, score_each_class, show_figure
from trainer.finetuning.task import FinetunedTask, preset_fingerprint
from trainer.finetuning.training_data import describe_data, find_sources, prepare_reading, read_data
from trainer.pretraining.startup import restart_with_huge_pages, run_trainer_command

os.environ.setdefault("KERAS_BACKEND", "jax")

_say = partial(say, "finetune")


def finetune(config: FinetuneConfig, options: RunOptions = RunOptions()) -> dict[str, Any] | None:
    """Runs the stage. Returns the final validation figures, or None where nothing was to do."""
    started = time.time()
    config.check()

    # ---------------------------------------------------------------------------------- Data
    sources = find_sources(config)
    preprocessor, fields = prepare_reading(config, sources)
    bad = BadRecords(drop=config.on_bad_record == "drop")
    train, validation = read_data(config, sources, fields, preprocessor, bad)
    epochs = config.epochs_for(len(train))
    config = dataclasses.replace(config, seq_length=preprocessor.sequence_length, epochs=epochs)
    _say(describe_data(train, validation))
    if bad.counts:
        _say(f"dropped records that cannot be used: {bad.describe()}")
    if options.dry_run:
        _say(f"would write {files.join(config.output, PRESET_FOLDER)}")
        return None

    # --------------------------------------------------------------------- Classifier, output
    load = partial(load_fresh, config, preprocessor, len(train.classes))
    # Before the output is touched: now it is known that the run is possible.
    classifier = load(config.seed, "float32")
    rate = config.rate_for(classifier.backbone.hidden_dim)
    config = dataclasses.replace(config, learning_rate=rate)
    fingerprints = {source.flag: source.fingerprint() for source in sources}
    inputs = {"preset": preset_fingerprint(config.preset), "validation": [], **fingerprints}
    reads = {"preset": [preset_folder(config.preset)]}
    reads |= {source.flag: source.paths() for source in sources}
    stage_run = StageRun("finetune", config, inputs, reads, FILES, started)
    if stage_run.is_finished(overwrite=options.overwrite):
        return None
    output = Path(config.output)
    finished = FinishedRestarts(output, deciding_fields(config), inputs)
    if options.overwrite:
        finished.remove()
    remove_remains(output)
    steps = epochs * math.ceil(len(train) / config.batch_size)
    passes = f"{steps:,} steps of {config.batch_size} (epochs: {epochs:,}), rate {rate:g}"
    truncation = describe_truncation(train.encoded)
    _say(f"{classifier.count_params():,} parameters; {passes}{truncation}")

    # ------------------------------------------------------------------------------ Restarts
    trained = classifier if config.dtype == "float32" else load(config.seed, config.dtype)
    finetuning = Finetuning(trained, classifier, train, validation, config, preprocessor.tokenizer)
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
    for sentence in describe_certainty(validation.classes, validation.labels, best.outputs):
        _say(sentence)
    each_class = score_each_class(validation.classes, validation.labels, best.outputs)
    report = {**best.figures, **each_class}
    for name, content in ((METRICS, report), (RUNS, describe_runs(config, results, best))):
        files.publish_bytes(str(output / name), (json.dumps(content, indent=1) + "\n").encode())
    if validation.texts is not None and not config.validation:
        write_validation(output / VALIDATION_TEXTS, validation.texts, fields)
    task = FinetunedTask(
        config.task,
        tuple(train.classes),
        **dataclasses.asdict(fields),
        seq_length=preprocessor.sequence_length,
        long_texts=config.long_texts,
    )
    publish_preset(output, classifier, preprocessor, task)
    finished.remove()
    counts = {
        "examples_read": len(train) + len(validation) + train.dropped + bad.counts.total(),
        "examples_train": len(train),
        "examples_validation": len(validation),
        "examples_dropped_empty": train.dropped,
        **{f"examples_dropped_{reason}": count for reason, count in bad.counts.items()},
        "examples_train_truncated": train.encoded.truncated,
        "examples_validation_truncated": validation.encoded.truncated,
    }
    facts = {"classes": list(train.classes), "metrics": best.figures}
    stage_run.publish(counts, facts, listed=list_made(output))
    _say(
        f"finished in {time.time() - started:,.1f} s: {config.output}; KerasHub loads "
        f"{files.join(config.output, PRESET_FOLDER)}"
    )
    return report


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
    shown = ", ".join(
        f"{name_figure(name)} {show_figure(name, figures[name])}"
        for name in names
        if name in figures
    )
    run = f"run {restart + 1} of {config.restarts}, " if config.restarts > 1 else ""
    _say(
        f"{run}epoch {epoch['epoch']} of {config.epochs}: loss {epoch['train_loss']:.4f}; "
        f"validation {shown}; {rate:,.0f} examples/s"
    )


if __name__ == "__main__":
    restart_with_huge_pages()
    run_trainer_command(FinetuneConfig, finetune, "finetune")
