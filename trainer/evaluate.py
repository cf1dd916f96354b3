"""``python -m trainer.evaluate``: the scores of a fine-tuned preset on labelled data.

The data are labelled texts, or an output of ``pipelines.tokenize --packing examples``. Runs on JAX
without TensorFlow installed.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from pipelines.command.options import CHOOSE, option
from pipelines.command.run import RunOptions, say, show
from pipelines.documents.bad_record import BadRecords
from pipelines.documents.labelled import Fields, describe_empty
from pipelines.errors import UserError
from pipelines.records.checksums import CHECKSUMS
from pipelines.records.preset_folder import preset_folder
from pipelines.stage import StageRun
from pipelines.storage import files
from pipelines.summary import print_summary
from trainer.finetuning.encoded import describe_truncation, run_model
from trainer.finetuning.examples import VALIDATION, read_examples
from trainer.finetuning.scores import (
    describe_certainty,
    describe_classes,
    name_figure,
    score,
    score_each_class,
    show_figure,
)
from trainer.finetuning.source import check_dataset, find_source
from trainer.finetuning.task import load_finetuned, preset_fingerprint
from trainer.pretraining.startup import run_trainer_command

os.environ.setdefault("KERAS_BACKEND", "jax")

_say = partial(say, "evaluate")
_FIELDS = "where the data has its fields"
_METRICS = "metrics.json"


@dataclass(frozen=True)
class EvaluateConfig:
    """Measure a fine-tuned preset on labelled texts.

    Prints the figures and the confusion matrix; with --output also writes metrics.json.

    Example: --preset runs/sentiment --data test.jsonl
    """

    preset: str = option(group=CHOOSE, decides=False, metavar="DIR")
    """An output of trainer.finetune, or the preset folder in it."""
    data: tuple[str, ...] = option(group=CHOOSE, decides=False, metavar="PATH")
    """Labelled texts: files, folders or patterns (.jsonl, .csv, .tsv, .parquet, also .gz, .bz2 or
    .zst); or an output of pipelines.tokenize --packing examples (its validation split, if any)."""
    output: str = option("", group=CHOOSE, decides=False, metavar="DIR")
    """Folder to write metrics.json to; empty: only print."""

    text_field: str = option("", group=_FIELDS, metavar="NAME")
    """Field of the text; empty: as in fine-tuning."""
    text_pair_field: str = option("", group=_FIELDS, metavar="NAME")
    """Field of the second text; empty: as in fine-tuning."""
    label_field: str = option("", group=_FIELDS, metavar="NAME")
    """Field of the label; empty: as in fine-tuning."""
    on_bad_record: Literal["fail", "drop"] = option("fail", group=_FIELDS, decides="unless default")
    """A record that cannot be used (no label, no text field, invalid JSON or UTF-8): stop with its file
    and line, or drop and count it."""

    batch_size: int = option(64, group="speed", decides=False)
    """Texts in a batch; the figures do not depend on it. Lower it if memory runs out."""


def evaluate(config: EvaluateConfig, options: RunOptions = RunOptions()) -> dict[str, Any] | None:
    """Runs the stage. Returns the figures, or None where there was nothing to do."""
    if config.batch_size < 1:
        raise UserError(f"--batch_size {config.batch_size}: must be at least 1")
    if options.dry_run:
        count = len(files.match(config.data, "data"))
        _say(f"would read {count} files and write {config.output or 'nothing'}")
        return None
    source = find_source(config.data, "data")
    inputs = {"preset": preset_fingerprint(config.preset), "data": source.fingerprint()}
    reads = {"preset": [preset_folder(config.preset)], "data": source.paths()}
    run = StageRun("evaluate", config, inputs, reads, (_METRICS, CHECKSUMS))
    if config.output and run.is_finished(overwrite=options.overwrite):
        return None
    model, preprocessor, task = load_finetuned(config.preset)
    fields = Fields(
        config.text_field or task.text_field,
        config.text_pair_field or task.text_pair_field,
        config.label_field or task.label_field,
    )
    check_dataset(source, preprocessor, None)
    bad = BadRecords(drop=config.on_bad_record == "drop")
    data = read_examples(
        source,
        fields,
        preprocessor,
        task.classes,
        split=VALIDATION,
        bad=bad,
        trained_on="fine-tuning",
        in_windows=task.in_windows,
    )
    if bad.counts:
        _say(f"dropped records that cannot be used: {bad.describe()}")
    empty = describe_empty(data.texts) if data.texts else ""
    _say(f"{len(data):,} texts{describe_truncation(data.encoded)}{empty}")
    outputs = run_model(model, data.encoded, config.batch_size)
    figures = score(task.classes, data.labels, outputs)
    each_class = score_each_class(task.classes, data.labels, outputs)
    truncated = data.encoded.truncated
    report = {**figures, "truncated": truncated, **each_class}
    if config.output:
        path = files.join(config.output, _METRICS)
        files.publish_bytes(path, (json.dumps(report, indent=1) + "\n").encode())
        dropped = {f"texts_dropped_{reason}": count for reason, count in bad.counts.items()}
        counts = {"texts": len(data), "texts_truncated": truncated, **dropped}
        run.publish(counts, {"metrics": figures}, listed=[_METRICS])
    print_summary({name_figure(n): show_figure(n, value) for n, value in figures.items()})
    for sentence in describe_certainty(task.classes, data.labels, outputs):
        _say(sentence)
    if task.classes:
        show(f"\n{describe_classes(report)}")
    return report


if __name__ == "__main__":
    run_trainer_command(EvaluateConfig, evaluate, "evaluate")
