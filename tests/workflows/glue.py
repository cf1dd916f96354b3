"""SST-2 and CoLA from a preset and from random weights of its architecture: mean ± sd over seeds.

``python -m tests.workflows.glue --preset PRESET --output FOLDER [--data FOLDER/glue] [--seeds 3]`` from
the repository's root. Figures are of the tasks' own dev parts, of the last epoch (nothing is chosen by
them): accuracy for SST-2, Matthews' correlation for CoLA. What is finished is not run again.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tabulate import tabulate

os.environ.setdefault("KERAS_BACKEND", "jax")

from pipelines.command.run import RunOptions
from pipelines.errors import UserError
from tests.workflows.linear import score_finetuning
from trainer.finetune import FinetuneConfig, finetune
from trainer.pretraining.startup import without_tensorflow


@dataclass(frozen=True)
class GlueTask:
    """A task's folder, its columns, its figure, and what fine-tuning it takes."""

    folder: str
    text_field: str
    label_field: str
    metric: str
    epochs: int


TASKS = (
    GlueTask("SST-2", "sentence", "label", "accuracy", 2),
    GlueTask("CoLA", "4", "2", "matthews", 5),
)
STARTS = {"pretrained": False, "random weights": True}


def configure(task: GlueTask, from_scratch: bool, options: argparse.Namespace) -> FinetuneConfig:
    """How a task is learned from one start, by all seeds."""
    folder = Path(options.data) / task.folder
    train = [str(folder / "train.tsv")]
    start = "random" if from_scratch else "pretrained"
    output = Path(options.output) / f"{task.folder}-{start}"
    if options.limit:
        train = [str(_first_lines(folder / "train.tsv", options.limit, Path(options.output), task))]
    return FinetuneConfig(
        preset=options.preset,
        train=tuple(train),
        validation=(str(folder / "dev.tsv"),),
        text_field=task.text_field,
        label_field=task.label_field,
        output=str(output),
        epochs=options.epochs or task.epochs,
        batch_size=options.batch_size,
        learning_rate=options.learning_rate,
        seq_length=options.seq_length,
        restarts=options.seeds,
        metric=task.metric,
        dropout=options.dropout,
        token_dropout=options.token_dropout,
        adversarial=options.adversarial,
        dtype=options.dtype,
        from_scratch=from_scratch,
    )


def run_task(config: FinetuneConfig, overwrite: bool) -> dict[str, Any]:
    """Fine-tunes, and returns what runs.json says of all seeds."""
    without_tensorflow(finetune)(config, RunOptions(overwrite=overwrite))
    return dict(json.loads(Path(config.output, "runs.json").read_text()))


def _first_lines(path: Path, limit: int, output: Path, task: GlueTask) -> Path:
    output.mkdir(parents=True, exist_ok=True)
    few = output / f"{task.folder}-first-{limit}.tsv"
    with open(path, encoding="utf-8") as file:
        few.write_text("".join(line for _, line in zip(range(limit), file, strict=False)), "utf-8")
    return few


def describe(task: GlueTask, runs: dict[str, Any]) -> str:
    """Mean ± sd, and the figure of each seed."""
    each = ", ".join(f"{run[task.metric]:.4f}" for run in runs["runs"])
    if "mean" not in runs:
        return each
    mean, spread = runs["mean"][task.metric], runs["standard_deviation"][task.metric]
    return f"{mean:.4f} ± {spread:.4f}  ({each})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--preset", required=True)
    parser.add_argument("--output", required=True, help="a folder for all runs")
    parser.add_argument("--data", default=f"{os.environ.get('BERTMILL_DATA', '')}/glue")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=0, help="0: 2 for SST-2, 5 for CoLA")
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--learning_rate", type=float, default=1e-4)
    parser.add_argument("--seq_length", type=int, default=64)
    parser.add_argument("--dropout", type=float, help="default: the preset's")
    parser.add_argument("--token_dropout", type=float, default=0.0)
    parser.add_argument("--adversarial", type=float, default=0.0)
    parser.add_argument("--dtype", default="float32", choices=["float32", "mixed_bfloat16"])
    parser.add_argument("--limit", type=int, default=0, help="so many training lines; 0: all")
    parser.add_argument("--tasks", nargs="+", default=[task.folder for task in TASKS])
    parser.add_argument("--overwrite", action="store_true")
    options = parser.parse_args()
    rows = []
    try:
        for task in (task for task in TASKS if task.folder in options.tasks):
            for start, from_scratch in STARTS.items():
                runs = run_task(configure(task, from_scratch, options), options.overwrite)
                rows.append([task.folder, task.metric, start, describe(task, runs)])
            for name, scores in score_finetuning(configure(task, True, options)).items():
                rows.append([task.folder, task.metric, name, f"{scores[task.metric]:.4f}"])
    except UserError as error:
        sys.exit(f"glue: {error}")
    print(tabulate(rows, ["task", "figure", "from", f"mean ± sd of {options.seeds} seeds"]))


if __name__ == "__main__":
    main()
