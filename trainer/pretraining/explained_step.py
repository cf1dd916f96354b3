"""What ``trainer.explain`` shows of a step, as text for a terminal and as a page."""

from __future__ import annotations

from dataclasses import dataclass

from trainer.data.batches import RowOrigin
from trainer.pretraining.page import render
from trainer.pretraining.predictions import PredictedRow, PredictedToken


@dataclass(frozen=True)
class ExplainedStep:
    """The first rows of a step, and where each comes from.

    step: counted from 1; ``batch_rows`` is how many rows it had in all.
    weights_of: after how many steps the weights are that the losses of rows and masks come from.
    logged_loss, replayed_loss: of the whole step, None where unknown.
    """

    run: str
    step: int
    batch_rows: int
    weights_of: int
    logged_loss: float | None
    replayed_loss: float | None
    rows: list[PredictedRow]
    origins: list[RowOrigin]


def as_text(explained: ExplainedStep) -> str:
    """Lines for a terminal: masked tokens as the model saw them, with [what was there|its guess]."""
    lines = _describe_step(explained)
    for sentence, documents in _describe_rows(explained):
        lines += ["", sentence]
        for doc_id, tokens in documents:
            lines.append(f"  document {doc_id:016x}: {' '.join(map(_token_as_text, tokens))}")
    return "\n".join(lines)


def as_html(explained: ExplainedStep) -> str:
    """A page without anything from elsewhere; the mouse over a mask shows its guess and loss."""
    return render(
        "explain.html.j2",
        run=explained.run,
        step=explained.step,
        sentences=_describe_step(explained),
        rows=_describe_rows(explained),
    )


def _describe_step(explained: ExplainedStep) -> list[str]:
    """A sentence for each thing there is to say of the whole step."""
    sentences = [
        f"{explained.run}, step {explained.step:,}: {len(explained.rows):,} of "
        f"{explained.batch_rows:,} rows; losses by the weights after step "
        f"{explained.weights_of:,}, without dropout"
    ]
    logged, replayed = explained.logged_loss, explained.replayed_loss
    if logged is not None:
        sentences.append(f"loss of the step as logged: {logged!r}")
    if replayed is not None:
        sentences.append(f"loss of the step as replayed: {replayed!r}")
        if logged is not None:
            same = "equal to the last bit" if logged == replayed else f"{replayed - logged:+.3g}"
            sentences.append(f"replayed against logged: {same}")
    return sentences


def _describe_rows(
    explained: ExplainedStep,
) -> list[tuple[str, list[tuple[int, list[PredictedToken]]]]]:
    """For each row a sentence, and the tokens of each document by its id."""
    described = []
    for number, (row, origin) in enumerate(zip(explained.rows, explained.origins, strict=True)):
        sentence = (
            f"row {number}: {row.row_id:016x}, copy {row.copy}; {origin.folder}, {origin.shard}, "
            f"record {origin.record:,}; loss {row.loss:.4f}, "
            f"{row.right} of {len(row.masks)} right"
        )
        described.append((sentence, list(zip(origin.doc_ids, row.documents, strict=True))))
    return described


def _token_as_text(token: PredictedToken) -> str:
    mask = token.mask
    return f"{token.seen}[{mask.target}|{mask.guess}]" if mask else token.seen
