"""What a preset is worth with few labelled texts: its classifiers beside linear models.

``python -m tests.workflows.few_labels --labels 1000 --preset PRESET --train FILES --output FOLDER``
takes all options and configuration files of ``trainer.finetune`` and judges on the examples that it
would hold out. Every sample is drawn from the rest, and repeated in its file where it is so small that
a run would take too few steps to learn. What is finished is not run again.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
from pathlib import Path
from typing import Any

from tabulate import tabulate

os.environ.setdefault("KERAS_BACKEND", "jax")

import numpy as np

from pipelines.command.options import option
from pipelines.command.run import RunOptions
from pipelines.command.run import run_command as run_main
from pipelines.documents.labelled import Fields
from pipelines.errors import UserError
from tests.workflows.commands import describe, run_command
from tests.workflows.linear import linear_scores, read_finetuning, texts_of
from trainer.finetuning.config import FinetuneConfig
from trainer.finetuning.examples import Examples
from trainer.finetuning.output import write_validation

# A run sees at least so many texts, counting repetitions.
_LEAST_SEEN = 6400


@dataclasses.dataclass(frozen=True)
class FewLabelsConfig(FinetuneConfig):
    """Fine-tune a preset, and its architecture with random weights, on few labelled texts.

    Example: --labels 1000 --preset runs/preset --train train.jsonl --output runs/few
    """

    labels: int = option(1000)
    """How many labelled texts to learn from."""
    samples: int = option(3)
    """How often to draw them anew; each sample is fine-tuned once."""


def main(config: FewLabelsConfig, _options: RunOptions) -> None:
    """Prints the accuracy of each, mean ± sd of the samples."""
    train, held_out = read_finetuning(config)
    if not 0 < config.labels <= len(train):
        raise UserError(f"--labels {config.labels}: must be between 1 and {len(train):,}")
    home = Path(config.output)
    home.mkdir(parents=True, exist_ok=True)
    validation = home / "validation.jsonl"
    _write(validation, held_out, config)
    found: dict[str, list[float]] = {}
    for sample in range(config.samples):
        few = train.select(np.random.default_rng(sample).permutation(len(train))[: config.labels])
        scores = linear_scores(texts_of(few), few.labels, texts_of(held_out), held_out.labels)
        for start in ("pretrained", "random weights"):
            scores[start] = _finetune(config, start, few, sample, validation)
        for name, figures in scores.items():
            found.setdefault(name, []).append(figures["accuracy"])
    rows = [[name, describe(values, 100)] for name, values in found.items()]
    print(tabulate(rows, [f"{config.labels} labels", "accuracy, %"], disable_numparse=True))


def _finetune(
    config: FewLabelsConfig, start: str, few: Examples, sample: int, validation: Path
) -> dict[str, Any]:
    """The figures of one fine-tuning."""
    name = f"{start.split()[0]}_{len(few)}_{sample}"
    times = max(1, math.ceil(_LEAST_SEEN / config.epochs_for(len(few)) / len(few)))
    texts = Path(config.output, f"texts_{len(few)}_{sample}.jsonl")
    _write(texts, few.select(np.repeat(np.arange(len(few)), times)), config)
    settings = {
        field.name: getattr(config, field.name) for field in dataclasses.fields(FinetuneConfig)
    }
    settings |= {
        "train": [str(texts)],
        "validation": [str(validation)],
        "output": str(Path(config.output, name)),
        "seed": sample,
        "from_scratch": start != "pretrained",
    }
    tuned = run_command("trainer.finetune", "finetune", settings)
    return dict(json.loads((tuned / "metrics.json").read_text()))


def _write(path: Path, examples: Examples, config: FewLabelsConfig) -> None:
    assert examples.texts is not None, "raw texts are needed"
    names = Fields(config.text_field, config.text_pair_field, config.label_field)
    write_validation(path, examples.texts, names)


if __name__ == "__main__":
    run_main(FewLabelsConfig, main, stage="finetune", module="tests.workflows.few_labels")
