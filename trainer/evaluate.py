"""``python -m trainer.evaluate``: how right a fine-tuned preset is on labelled data.

The data are labelled texts, or an output of ``pipelines.tokenize --packing examples``. Runs on JAX
without TensorFlow installed.
"""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import dataclass
from typing import Any

from tabulate import tabulate

from pipelines import files
from pipelines.command import RunOptions, run_command
from pipelines.documents.labelled import Fields
from pipelines.errors import UserError
from pipelines.records.manifest import Manifest, finish_output, prepare_output
from trainer.finetuning.class_table import describe_classes
from trainer.finetuning.encoded import describe_truncation, run_model
from trainer.finetuning.examples import VALIDATION, fingerprint_examples, read_examples
from trainer.finetuning.labels import Labelled
from trainer.finetuning.task import (
    labels_of,
    load_finetuned,
    preset_fingerprint,
    score,
    score_each_class,
)
from trainer.pretraining.startup import with_lean_keras

os.environ.setdefault("KERAS_BACKEND", "jax")

_FIELDS = ("text_field", "text_pair_field", "label_field")


@dataclass(frozen=True)
class EvaluateConfig:
    """Measure a fine-tuned preset on labelled texts.

    Prints the figures and the confusion matrix; with --output also writes metrics.json.
    """

    preset: str = ""
    """An output of trainer.finetune, or the preset folder in it."""
    data: tuple[str, ...] = ()
    """Labelled texts: files, folders or patterns (.jsonl, .csv, .tsv, .parquet, also .gz); or an output
    of pipelines.tokenize --packing examples (its validation part, if it has one)."""
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


def evaluate(config: EvaluateConfig, options: RunOptions) -> dict[str, Any] | None:
    """Runs the stage. Returns the figures, or None where there was nothing to do."""
    started = time.time()
    if not config.preset or not config.data:
        raise UserError("--preset and --data: name a fine-tuned preset and labelled files")
    if config.batch_size < 1:
        raise UserError(f"--batch_size {config.batch_size}: must be at least 1")
    if options.dry_run:
        found = files.match(config.data, "data")
        _say(f"would read {len(found)} files and write {config.output or 'nothing'}")
        return None
    asked = {name: getattr(config, name) for name in _FIELDS}
    inputs = {
        "preset": preset_fingerprint(config.preset),
        "data": fingerprint_examples(config.data, "data"),
    }
    if config.output and prepare_output(
        config.output, asked, inputs, overwrite=options.overwrite, stage="evaluate"
    ):
        _say(f"{config.output} is finished already; nothing to do")
        return None
    model, preprocessor, task = load_finetuned(config.preset)
    fields = {name: value or getattr(task, name) for name, value in asked.items()}

    def check(data: Labelled) -> Any:
        return labels_of(task, data, "fine-tuning")

    data = read_examples(
        config.data, Fields(**fields), preprocessor, "data", split=VALIDATION, check=check
    )
    labels, encoded = check(data), data.encoded
    empty = data.texts.describe_empty() if data.texts else ""
    _say(f"{len(data):,} texts{describe_truncation(encoded)}{empty}")
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
    if task.task == "classification":
        print(f"\n{describe_classes(report)}")
    return report


def _say(text: str) -> None:
    print(f"evaluate: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    run_command(
        EvaluateConfig, with_lean_keras(evaluate), stage="evaluate", module="trainer.evaluate"
    )
