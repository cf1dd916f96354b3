"""``python -m trainer.report``: a pretraining run on one page, at its end or while it runs.

``trainer.pretrain`` writes the same page itself when it finishes. Everything comes from the run's
folder: curves from metrics.jsonl, sample predictions from the newest checkpoint and the data.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from pipelines.command.options import CHOOSE, option
from pipelines.command.run import RunOptions, say
from pipelines.errors import UserError
from pipelines.storage import files
from trainer.data.batches import BatchMaker
from trainer.pretraining.checkpoints import Checkpoints
from trainer.pretraining.cluster import Cluster
from trainer.pretraining.logs.metrics import read_metrics
from trainer.pretraining.pages.charts import draw_charts
from trainer.pretraining.pages.predictions import predict_rows
from trainer.pretraining.pages.render import find_step_pages, render, step_page
from trainer.pretraining.plan import PretrainPlan, plan_again
from trainer.pretraining.startup import run_trainer_command
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


def report(config: ReportConfig, options: RunOptions = RunOptions()) -> None:
    """Runs the command. Raises UserError for what the user can fix."""
    plan = plan_again(config.run)
    checkpoints = Checkpoints(config.run)
    done = checkpoints.newest()
    if not done:
        raise UserError(f"--run: {config.run} has no checkpoint yet; wait for the first one")
    cluster = Cluster()
    model, train_step, _ = plan.build(cluster, begins=False)
    train_step.load(checkpoints.load(done)[0])
    train_step.update_model()
    path = config.output or files.join(config.run, REPORT)
    write_report(path, config.run, plan, model, plan.batch_maker(cluster), done)
    say("report", f"wrote {path}")


def write_report(
    path: str, run: str, plan: PretrainPlan, model: Any, maker: BatchMaker, done: int
) -> None:
    """Publishes the page about the run in folder ``run``; ``model`` has the weights after ``done``
    steps. Its sample is of validation rows, where the data has any."""
    batch = maker.sample_batch()
    rows = min(_SAMPLE_ROWS, len(batch.row))
    lines = read_metrics(run)
    page = render(
        "report.html.j2",
        run=run,
        plan=plan,
        done=done,
        parameters=model.count_params(),
        last=lines[-1] if lines else None,
        validated=next((line for line in reversed(lines) if "validation_loss" in line), None),
        charts=draw_charts(lines),
        step_pages=find_step_pages(path),
        explain_command=_explain_command(run, lines, done),
        rows=predict_rows(model, batch, plan.datasets[0].vocabulary, rows),
        config=plan.deciding() | {"output": run},
    )
    files.publish_bytes(path, page.encode())


def _explain_command(run: str, lines: Sequence[Mapping[str, Any]], done: int) -> str:
    """How to look at the logged step whose loss rose most above those before it."""
    rises = {now["step"]: now["loss"] - before["mean_loss"] for before, now in pairwise(lines)}
    step = max(rises, key=rises.__getitem__, default=done)
    page = files.join(run, step_page(step))
    return shlex.join(
        ["python", "-m", "trainer.explain", "--run", run, "--step", str(step), "--output", page]
    )


if __name__ == "__main__":
    run_trainer_command(ReportConfig, report, "report", publishes=False)
