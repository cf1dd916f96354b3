"""``python -m trainer.report``: a pretraining run on one page, at its end or while it runs.

``trainer.pretrain`` writes the same page itself when it finishes. Everything comes from the run's
folder: curves from metrics.jsonl, sample predictions from the newest checkpoint and the data.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any

from tqdm import tqdm

from pipelines import files
from pipelines.command import RunOptions, run_command
from pipelines.errors import UserError
from pipelines.options import CHOOSE, option
from trainer.data.batches import BatchMaker
from trainer.data.dataset import TRAIN, VALIDATION
from trainer.pretraining.checkpoints import Checkpoints
from trainer.pretraining.cluster import Cluster
from trainer.pretraining.curves import draw_curves
from trainer.pretraining.metrics import read_metrics
from trainer.pretraining.page import as_words, render
from trainer.pretraining.plan import PretrainPlan, plan_again
from trainer.pretraining.predictions import predict_rows
from trainer.pretraining.startup import with_lean_keras
from trainer.run_folder import REPORT

# Rows whose predictions are shown.
_SAMPLE_ROWS = 4


@dataclass(frozen=True, kw_only=True)
class ReportConfig:
    """Write a page about a pretraining run, finished or not: curves, sample predictions, data and
    config.

    Example: --run runs/bert
    """

    run: str = option(group=CHOOSE, metavar="DIR")
    """The --output of trainer.pretrain, local or gs://. It needs at least one checkpoint, and the
    data where the run read it."""

    output: str | None = option(None, metavar="FILE")
    """The page to write (.html); default: report.html in the run's folder. Give another to keep the
    page of an earlier state."""


def report(config: ReportConfig, options: RunOptions) -> None:
    """Runs the command. Raises UserError for what the user can put right."""
    plan = plan_again(config.run)
    checkpoints = Checkpoints(config.run, 1)
    done = checkpoints.newest()
    if not done:
        raise UserError(f"--run: {config.run} has no checkpoint yet; wait for the first one")
    cluster = Cluster()
    model, train_step, _ = plan.build(cluster)
    train_step.load(checkpoints.load(done)[0])
    train_step.update_model()
    path = config.output or files.join(config.run, REPORT)
    write_report(path, config.run, plan, model, plan.batch_maker(cluster), done)
    print(f"report: wrote {path}", file=sys.stderr)


def write_report(
    path: str, run: str, plan: PretrainPlan, model: Any, maker: BatchMaker, done: int
) -> None:
    """Publishes the page about the run in folder ``run``; ``model`` has the weights after ``done``
    steps. Its sample is of validation rows, where the data has any."""
    batch = maker.validation_batch(0) if maker.validation_steps else maker.train_batch(0)
    rows = min(_SAMPLE_ROWS, len(batch.row))
    lines = read_metrics(run)
    page = render(
        "report.html.j2",
        run=run,
        state="finished" if done >= plan.steps else f"after {done:,} steps",
        summary=_summarize(lines, plan, model.count_params()),
        charts=draw_curves(lines),
        rows=predict_rows(model, batch, plan.datasets[0].vocabulary, rows),
        data=_describe_data(plan),
        config=plan.deciding() | {"output": run},
    )
    files.publish_bytes(path, page.encode())


def _summarize(
    lines: Sequence[Mapping[str, Any]], plan: PretrainPlan, parameters: int
) -> dict[str, str]:
    """The figures that stand first on the page, by name."""
    batch_size = plan.config.batch_size
    summary = {
        "model": f"{plan.config.model}, {parameters:,} parameters",
        "steps": f"{plan.steps:,} of {batch_size:,} rows "
        f"({plan.steps * batch_size / plan.rows:.2f} epochs of {plan.rows:,} rows)",
    }
    if not lines:
        return summary
    last = lines[-1]
    validated = next((line for line in reversed(lines) if "validation_loss" in line), None)
    summary["training loss"] = f"{last['mean_loss']:.4f}, {last['mean_accuracy']:.2%} right"
    if validated:
        summary["validation loss"] = (
            f"{validated['validation_loss']:.4f}, {validated['validation_accuracy']:.2%} right "
            f"(step {validated['step']:,})"
        )
    summary["speed"] = f"{last['rows_per_second']:,.0f} rows/s at the end"
    if "seconds" in last:
        summary["time"] = f"{tqdm.format_interval(last['seconds'])} up to step {last['step']:,}"
    return summary


def _describe_data(plan: PretrainPlan) -> list[tuple[Any, ...]]:
    """For each dataset its folder, training and validation rows, weight, fingerprint and facts."""
    weights = plan.weights or repeat(None)
    return [
        (
            dataset.folder,
            f"{dataset.rows(TRAIN):,}",
            f"{dataset.rows(VALIDATION):,}",
            weight,
            dataset.manifest.fingerprint,
            f"stage: {dataset.manifest.stage}, "
            + ", ".join(f"{name}: {as_words(v)}" for name, v in dataset.manifest.facts.items()),
        )
        for dataset, weight in zip(plan.datasets, weights, strict=False)
    ]


if __name__ == "__main__":
    run_command(
        ReportConfig,
        with_lean_keras(report),
        stage="report",
        module="trainer.report",
        publishes=False,
    )
