"""``python -m trainer.evaluate``: the scores of a fine-tuned preset on labelled data.

The data are labelled texts, or an output of ``pipelines.tokenize --packing examples``. Runs on JAX
without TensorFlow installed.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from functools import partial
from typing import Any

from tabulate import tabulate

from pipelines import files
from pipelines.command import RunOptions, say
from pipelines.documents.labelled import Fields
from pipelines.errors import UserError
from pipelines.options import CHOOSE, deciding_fields, option
from pipelines.records.manifest import Manifest, finish_output, prepare_output
from trainer.finetuning.encoded import describe_truncation, run_model
from trainer.finetuning.examples import VALIDATION, find_source, read_examples
from trainer.finetuning.labels import encode_labels
from trainer.finetuning.scores import describe_classes, score, score_each_class
from trainer.finetuning.task import load_finetuned, preset_fingerprint
from trainer.pretraining.startup import run_trainer_command

os.environ.setdefault("KERAS_BACKEND", "jax")

_say = partial(say, "evaluate")
_FIELDS = "where the data has its fields"


@dataclass(frozen=True)
class EvaluateConfig:
    """Measure a fine-tuned preset on labelled texts.

    Prints the figures and the confusion matrix; with --output also writes metrics.json.

    Example: --preset runs/sentiment --data test.jsonl
    """

    preset: str = option(group=CHOOSE, decides=False, metavar="DIR")
    """An output of trainer.finetune, or the preset folder in it."""
    data: tuple[str, ...] = option(group=CHOOSE, decides=False, metavar="PATH")
    """Labelled texts: files, folders or patterns (.jsonl, .csv, .tsv, .parquet, also .gz); or an output
    of pipelines.tokenize --packing examples (its validation part, if it has one)."""
    output: str = option("", group=CHOOSE, decides=False, metavar="DIR")
    """Folder to write metrics.json to; empty: only print."""

    text_field: str = option("", group=_FIELDS, metavar="NAME")
    """Field of the text; empty: as in fine-tuning."""
    text_pair_field: str = option("", group=_FIELDS, metavar="NAME")
    """Field of the second text; empty: as in fine-tuning."""
    label_field: str = option("", group=_FIELDS, metavar="NAME")
    """Field of the label; empty: as in fine-tuning."""

    batch_size: int = option(64, group="speed", decides=False)
    """Texts in a batch; the figures do not depend on it. Lower it if memory runs out."""


def evaluate(config: EvaluateConfig, options: RunOptions) -> dict[str, Any] | None:
    """Runs the stage. Returns the figures, or None where there was nothing to do."""
    started = time.time()
    if not config.preset or not config.data:
        raise UserError("--preset and --data: name a fine-tuned preset and labelled files")
    if config.batch_size < 1:
        raise UserError(f"--batch_size {config.batch_size}: must be at least 1")
    if options.dry_run:
        count = len(files.match(config.data, "data"))
        _say(f"would read {count} files and write {config.output or 'nothing'}")
        return None
    asked = deciding_fields(config)
    source = find_source(config.data, "data")
    inputs = {"preset": preset_fingerprint(config.preset), "data": source.fingerprint()}
    if config.output and prepare_output(
        config.output, asked, inputs, overwrite=options.overwrite, stage="evaluate"
    ):
        _say(f"{config.output} is finished already; nothing to do")
        return None
    model, preprocessor, task = load_finetuned(config.preset)
    fields = Fields(**{name: value or getattr(task, name) for name, value in asked.items()})
    encode = partial(encode_labels, classes=task.classes, trained_on="fine-tuning")
    data = read_examples(source, fields, preprocessor, split=VALIDATION, check=encode)
    labels = encode(data.labels, data.places)
    empty = data.texts.describe_empty() if data.texts else ""
    _say(f"{len(data):,} texts{describe_truncation(data.encoded)}{empty}")
    outputs = run_model(model, data.encoded, config.batch_size)
    figures = score(task.classes, labels, outputs)
    each_class = score_each_class(task.classes, labels, outputs)
    report = {**figures, "truncated": data.encoded.truncated, **each_class}
    if config.output:
        path = files.join(config.output, "metrics.json")
        files.publish_bytes(path, (json.dumps(report, indent=1) + "\n").encode())
        counts = {"texts": len(data), "texts_truncated": data.encoded.truncated}
        manifest = Manifest("evaluate", asked, counts, {"metrics": figures})
        run = {"seconds": round(time.time() - started, 1)}
        finish_output(config.output, manifest, inputs, run)
    print(tabulate(list(figures.items()), floatfmt=".4f", tablefmt="plain"))
    if task.classes:
        print(f"\n{describe_classes(report)}")
    return report


if __name__ == "__main__":
    run_trainer_command(EvaluateConfig, evaluate, "evaluate")
