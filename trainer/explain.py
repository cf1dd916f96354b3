"""``python -m trainer.explain``: what a model saw in one step of pretraining, and what it made of it.

A step is a pure function of data, config and step number, so nothing had to be recorded: rows,
masks and their origins are computed again. ``--replay`` also computes the step itself again, from
the nearest checkpoint before it, and compares its loss with the log; on a CPU they are equal to the
last bit.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines import files
from pipelines.command import RunOptions, run_command
from pipelines.errors import UserError
from pipelines.vocabulary import Vocabulary
from trainer.checkpoints import Checkpoints
from trainer.cluster import Cluster
from trainer.explain_pages import ExplainedMask, ExplainedRow, ExplainedStep, as_html, as_text
from trainer.lean_keras import with_lean_keras
from trainer.loader import Batch, BatchMaker
from trainer.metrics import read_metrics
from trainer.pretrain_config import PretrainConfig, describe_changes
from trainer.pretrain_plan import PretrainPlan, plan_run, read_identity

# Rows whose logits are in memory at a time.
_ROWS_AT_ONCE = 8


@dataclass(frozen=True, kw_only=True)
class ExplainConfig:
    """Show what step STEP of a pretraining run saw: each row, what was masked in it, where it comes
    from, and the loss of each row.

    Losses are those of the checkpoint nearest to the step, without dropout; with --replay they are
    those that the step itself had.
    """

    run: str
    """The output folder of a pretraining run, finished or not."""

    step: int
    """Which step, counted from 1 as in metrics.jsonl."""

    rows: int = 8
    """Rows to show; 0: all of the batch."""

    replay: bool = False
    """Compute the step again from the nearest checkpoint before it, and compare with the log."""

    output: str | None = None
    """Also write everything as a page that a browser shows (.html)."""


def explain(config: ExplainConfig, options: RunOptions) -> ExplainedStep:
    """Runs the command. Raises UserError for what the user can put right."""
    plan = _plan_again(config.run)
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
    model, train_step, _ = plan.build(cluster)
    checkpoints = Checkpoints(config.run, 1)
    readable = [0, *checkpoints.steps()]
    replayed = None
    if config.replay:
        begin = max(step for step in readable if step < config.step)
        if begin:
            train_step.load(checkpoints.load(begin)[0])
        _say(f"replaying steps {begin + 1:,} to {config.step:,}")
        for step in range(begin, config.step - 1):
            train_step.run(step, maker.train_batch(step).arrays)
        train_step.update_model()
        replayed = float(np.asarray(train_step.run(config.step - 1, batch.arrays))[0])
        weights_of = config.step - 1
    else:
        weights_of = min(readable, key=lambda step: (abs(step - config.step + 1), step))
        if weights_of:
            train_step.load(checkpoints.load(weights_of)[0])
            train_step.update_model()
    shown = len(batch.row) if config.rows == 0 else min(config.rows, len(batch.row))
    explained = ExplainedStep(
        run=config.run,
        step=config.step,
        batch_rows=len(batch.row),
        weights_of=weights_of,
        logged_loss=logged.get(config.step),
        replayed_loss=replayed,
        rows=_explain_rows(batch, maker, plan, model, shown),
    )
    print(as_text(explained))
    if config.output:
        files.publish_bytes(config.output, as_html(explained).encode())
        _say(f"wrote {config.output}")
    return explained


def _say(text: str) -> None:
    print(f"explain: {text}", file=sys.stderr, flush=True)


def _plan_again(run: str) -> PretrainPlan:
    """The plan that the run was made by. Raises UserError if its data is no longer the same."""
    identity = read_identity(run)
    backend = os.environ.setdefault("KERAS_BACKEND", identity["deciding"]["backend"])
    fields = identity["config"]
    plan = plan_run(PretrainConfig(**{**fields, "data": tuple(fields["data"])}))
    changes = describe_changes(identity["deciding"], plan.deciding() | {"backend": backend})
    if changes:
        raise UserError(f"--run: {run} cannot be computed again: {changes}")
    return plan


def _explain_rows(
    batch: Batch, maker: BatchMaker, plan: PretrainPlan, model: Any, shown: int
) -> list[ExplainedRow]:
    vocabulary = plan.datasets[0].vocabulary
    origins = maker.find_origins(batch)
    rows = []
    for start in range(0, shown, _ROWS_AT_ONCE):
        part = slice(start, min(start + _ROWS_AT_ONCE, shown))
        arrays = {name: values[part] for name, values in batch.arrays.items()}
        losses, guesses = _predict(model, arrays)
        for i in range(part.stop - start):
            rows.append(
                ExplainedRow(
                    row_id=int(batch.row_id[start + i]),
                    copy=int(batch.epoch[start + i]),
                    origin=origins[start + i],
                    documents=_pieces_by_document(arrays, i, vocabulary),
                    masks=_explain_masks(arrays, i, losses[i], guesses[i], vocabulary),
                )
            )
    return rows


def _predict(model: Any, arrays: dict[str, Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """The loss float32[B, S] and the likeliest token int[B, S] at every masked position."""
    from keras import ops

    names = ("token_ids", "segment_ids", "padding_mask")
    inputs = {name: ops.cast(arrays[name], "int32") for name in names}
    if "document_ids" in arrays:
        inputs["document_ids"] = arrays["document_ids"]
    encoded = model.backbone.encode_at(inputs, arrays["mask_positions"])
    hidden = model.masked_lm_head.transform(encoded)
    table = ops.cast(ops.transpose(model.backbone.token_embedding.embeddings), hidden.dtype)
    logits = ops.cast(ops.matmul(hidden, table), "float32") + model.masked_lm_head.output_bias
    labels = ops.cast(arrays["mask_ids"], "int32")[..., None]
    wanted = ops.take_along_axis(logits, labels, axis=-1)[..., 0]
    loss = ops.logsumexp(logits, axis=-1) - wanted
    return ops.convert_to_numpy(loss), ops.convert_to_numpy(ops.argmax(logits, axis=-1))


def _pieces_by_document(
    arrays: dict[str, Any], row: int, vocabulary: Vocabulary
) -> list[list[tuple[int, str]]]:
    """(position, piece) of every token that is not padding, document by document."""
    owner = arrays.get("document_ids", arrays["padding_mask"].astype(np.int32))[row]
    pieces = [vocabulary.tokens[token] for token in arrays["token_ids"][row].tolist()]
    return [
        [(position, pieces[position]) for position in np.flatnonzero(owner == document).tolist()]
        for document in range(1, int(owner.max(initial=0)) + 1)
    ]


def _explain_masks(
    arrays: dict[str, Any],
    row: int,
    losses: NDArray[Any],
    guesses: NDArray[Any],
    vocabulary: Vocabulary,
) -> list[ExplainedMask]:
    used = np.flatnonzero(arrays["mask_weights"][row] > 0).tolist()
    return [
        ExplainedMask(
            position=int(arrays["mask_positions"][row, slot]),
            target=vocabulary.tokens[int(arrays["mask_ids"][row, slot])],
            guess=vocabulary.tokens[int(guesses[slot])],
            loss=float(losses[slot]),
        )
        for slot in used
    ]


if __name__ == "__main__":
    run_command(
        ExplainConfig,
        with_lean_keras(explain),
        stage="explain",
        module="trainer.explain",
        publishes=False,
    )
