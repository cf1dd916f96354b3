"""What ``trainer.explain`` found, as text for a terminal and as one self-contained HTML page."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

from trainer.data.batches import RowOrigin
from trainer.pretraining.predictions import PredictedMask


@dataclass(frozen=True)
class ExplainedRow:
    """A row as the model saw it: (position, piece) document by document, and what was masked."""

    row_id: int
    copy: int
    origin: RowOrigin
    documents: list[list[tuple[int, str]]]
    masks: list[PredictedMask]

    @property
    def loss(self) -> float:
        """The mean loss of the row's masked positions."""
        return sum(mask.loss for mask in self.masks) / max(len(self.masks), 1)

    @property
    def right(self) -> int:
        """How many of them the model gets right."""
        return sum(mask.guess == mask.target for mask in self.masks)


@dataclass(frozen=True)
class ExplainedStep:
    """Some rows of a step. ``weights_of``: after how many steps the weights are that the losses of
    rows and masks come from; ``logged_loss`` and ``replayed_loss``: of the whole step, None where
    unknown."""

    run: str
    step: int
    batch_rows: int
    weights_of: int
    logged_loss: float | None
    replayed_loss: float | None
    rows: list[ExplainedRow]


def describe_step(explained: ExplainedStep) -> list[str]:
    """What there is to say of the whole step, a sentence each."""
    said = [
        f"{explained.run}, step {explained.step:,}: {len(explained.rows):,} of "
        f"{explained.batch_rows:,} rows; losses by the weights after step "
        f"{explained.weights_of:,}, without dropout"
    ]
    logged, replayed = explained.logged_loss, explained.replayed_loss
    if logged is not None:
        said.append(f"loss of the step as logged: {logged!r}")
    if replayed is not None:
        said.append(f"loss of the step as replayed: {replayed!r}")
        if logged is not None:
            same = "equal to the last bit" if logged == replayed else f"{replayed - logged:+.3g}"
            said.append(f"replayed against logged: {same}")
    return said


def _describe_row(number: int, row: ExplainedRow) -> str:
    place = f"{row.origin.folder}, {row.origin.shard}, record {row.origin.record:,}"
    return (
        f"row {number}: {row.row_id:016x}, copy {row.copy}; {place}; loss {row.loss:.4f}, "
        f"{row.right} of {len(row.masks)} right"
    )


def as_text(explained: ExplainedStep) -> str:
    """Lines for a terminal: masked pieces as they stand, with [what was there|what the model says]."""
    lines = describe_step(explained)
    for number, row in enumerate(explained.rows):
        masks = {mask.position: mask for mask in row.masks}
        lines += ["", _describe_row(number, row)]
        for doc_id, document in zip(row.origin.doc_ids, row.documents, strict=True):
            pieces = [
                f"{piece}[{masks[position].target}|{masks[position].guess}]"
                if position in masks
                else piece
                for position, piece in document
            ]
            lines.append(f"  document {doc_id:016x}: {' '.join(pieces)}")
    return "\n".join(lines)


STYLE = """
body { font: 15px/1.7 system-ui, sans-serif; max-width: 70em; margin: 2em auto; padding: 0 1em }
h2 { font-size: 1em; margin: 2em 0 .3em } p { margin: .3em 0 }
.id { color: #777; font-size: .8em } .mask { border-radius: 3px; padding: 0 .25em }
.right { background: #cfe8cf } .wrong { background: #f6d5d0 } s { color: #777 }
"""


def as_html(explained: ExplainedStep) -> str:
    """A page without anything from elsewhere; the mouse over a mask shows its guess and loss."""
    parts = [f"<p>{escape(sentence)}</p>" for sentence in describe_step(explained)]
    for number, row in enumerate(explained.rows):
        masks = {mask.position: mask for mask in row.masks}
        parts.append(f"<h2>{escape(_describe_row(number, row))}</h2>")
        for doc_id, document in zip(row.origin.doc_ids, row.documents, strict=True):
            text = document_as_html(document, masks)
            parts.append(f'<p><span class="id">{doc_id:016x}</span> {text}</p>')
    title = f"Step {explained.step:,} of {escape(explained.run)}"
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        f"<style>{STYLE}</style><h1>{title}</h1>{''.join(parts)}</html>\n"
    )


def document_as_html(pieces: list[tuple[int, str]], masks: dict[int, PredictedMask]) -> str:
    """The (position, piece)s of a document; masked ones show target and, struck out, what stood."""
    return " ".join(
        _mask_as_html(piece, masks[position]) if position in masks else escape(piece)
        for position, piece in pieces
    )


def _mask_as_html(piece: str, mask: PredictedMask) -> str:
    """One masked piece; the mouse over it shows the model's guess and the loss."""
    kind = "right" if mask.guess == mask.target else "wrong"
    title = escape(f"likeliest: {mask.guess}; loss {mask.loss:.3f}", quote=True)
    seen = "" if piece == mask.target else f"<s>{escape(piece)}</s> "
    return f'<span class="mask {kind}" title="{title}">{seen}<b>{escape(mask.target)}</b></span>'
