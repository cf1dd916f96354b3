"""``python -m trainer.explain``: what a model saw in one step of pretraining, and what it predicted.

A step is a pure function of data, config and step number, so nothing had to be recorded: rows,
masks and their origins are computed again. ``--replay`` also computes the step itself again, from
the nearest checkpoint before it, and compares its loss with the log; on a CPU they are equal to the
last bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from pipelines.command.options import CHOOSE, option
from pipelines.command.run import RunOptions, say, show
from pipelines.errors import UserError
from pipelines.storage import files
from trainer.pretraining.checkpoints import Checkpoints
from trainer.pretraining.cluster import Cluster
from trainer.pretraining.logs.metrics import read_metrics
from trainer.pretraining.pages.explained_step import ExplainedRow, ExplainedStep
from trainer.pretraining.pages.predictions import predict_rows
from trainer.pretraining.pages.render import link_to_report, render
from trainer.pretraining.plan import plan_again
from trainer.pretraining.startup import run_trainer_command

_say = partial(say, "explain")


@dataclass(frozen=True, kw_only=True)
class ExplainConfig:
    """Show what step STEP of a pretraining run saw: each row, what was masked in it, where it comes
    from, and the loss of each row.

    Losses are those of the checkpoint nearest to the step, without dropout; with --replay they are
    those that the step itself had.

    Example: --run runs/bert --step 1000 --output runs/bert/step-1000.html
    """

    run: str = option(group=CHOOSE, metavar="DIR")
    """The --output of trainer.pretrain, finished or not, local or gs://. Its data must lie where
    the run read it."""

    step: int = option(group=CHOOSE)
    """The step to explain, counted from 1 as in metrics.jsonl; for instance one whose loss stands out
    there."""

    rows: int = 8
    """Rows of the batch to show, from its first; 0: all."""

    replay: bool = False
    """Compute the step again from the nearest checkpoint before it, and compare with the log: shows
    the losses of the step itself, and that the run can be repeated. Takes the time of the steps in
    between."""

    output: str | None = option(None, metavar="FILE")
    """Also write everything as a page (.html), in colours; default: text on the terminal only. In the
    run's folder, called step-STEP.html, it is linked with the run's report."""


def explain(config: ExplainConfig, options: RunOptions = RunOptions()) -> ExplainedStep:
    """Runs the command. Raises UserError for what the user can fix."""
    plan = plan_again(config.run)
    if not 1 <= config.step <= plan.steps:
        raise UserError(
            f"--step {config.step}: the run in {config.run} has steps 1 to {plan.steps}"
        )
    if config.rows < 0:
        raise UserError(f"--rows {config.rows}: must not be negative")
    cluster = Cluster()
    maker = plan.batch_maker(cluster)
    batch = maker.train_batch(config.step - 1)
    logged = {line["step"]: line["loss"] for line in read_metrics(config.run)}
    checkpoints = Checkpoints(config.run)
    starts = [0, *checkpoints.steps()]
    if config.replay:
        weights_of = config.step - 1
        start = max(step for step in starts if step <= weights_of)
        _say(f"replaying steps {start + 1:,} to {config.step:,}")
    else:
        weights_of = start = min(starts, key=lambda step: (abs(step - config.step + 1), step))
    model, train_step, _ = plan.build(cluster, begins=not start)
    if start:
        train_step.load(checkpoints.load(start)[0])
    for step in range(start, weights_of):
        train_step.run(step, maker.train_batch(step).arrays)
    train_step.update_model()
    count = min(config.rows or len(batch.row), len(batch.row))
    rows = predict_rows(model, batch, plan.datasets[0].vocabulary, count)
    replayed = None
    if config.replay:
        replayed = float(np.asarray(train_step.run(config.step - 1, batch.arrays))[0])

    explained = ExplainedStep(
        run=config.run,
        step=config.step,
        batch_rows=len(batch.row),
        weights_of=weights_of,
        logged_loss=logged.get(config.step),
        replayed_loss=replayed,
        rows=[ExplainedRow(*pair) for pair in zip(rows, maker.find_origins(batch), strict=False)],
    )
    show(explained.as_text())
    if config.output:
        report = link_to_report(config.output, config.run)
        page = render("explain.html.j2", explained=explained, report=report)
        files.publish_bytes(config.output, page.encode())
        _say(f"wrote {config.output}")
    return explained


if __name__ == "__main__":
    run_trainer_command(ExplainConfig, explain, "explain", publishes=False)
