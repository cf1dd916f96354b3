"""What ``trainer.explain`` shows of a step: its sentences, and all of it as text for a terminal."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain, islice

from trainer.data.batches import RowOrigin
from trainer.pretraining.pages.predictions import PredictedRow, PredictedToken


@dataclass(frozen=True)
class ExplainedRow:
    """A row of a step with the model's predictions, and where it comes from."""

    predicted: PredictedRow
    origin: RowOrigin

    def sentence(self, number: int) -> str:
        """Describes the row, the ``number``-th of its batch."""
        row, origin = self.predicted, self.origin
        return (
            f"row {number}: {row.row_id:016x}, copy {row.copy}; {origin.folder}, {origin.shard}, "
            f"record {origin.record:,}; loss {row.loss:.4f}, {row.right} of {len(row.masks)} right"
        )

    def documents(self) -> list[tuple[int, list[PredictedToken]]]:
        """The id and the tokens of each document in the row, also where the model saw them as one."""
        tokens = chain.from_iterable(self.predicted.documents)
        each = zip(self.origin.doc_ids, self.origin.lengths, strict=True)
        return [(doc_id, list(islice(tokens, length))) for doc_id, length in each]


@dataclass(frozen=True)
class ExplainedStep:
    """The first rows of a step (counted from 1), which has ``batch_rows`` in all.

    weights_of: after how many steps the weights are that the losses of rows and masks come from.
    logged_loss, replayed_loss: of the whole step, None where unknown.
    """

    run: str
    step: int
    batch_rows: int
    weights_of: int
    logged_loss: float | None
    replayed_loss: float | None
    rows: list[ExplainedRow]

    def sentences(self) -> list[str]:
        """Describes the whole step."""
        sentences = [
            f"{self.run}, step {self.step:,}: {len(self.rows):,} of {self.batch_rows:,} rows; losses "
            f"by the weights after step {self.weights_of:,}, without dropout"
        ]
        logged, replayed = self.logged_loss, self.replayed_loss
        if logged is not None:
            sentences.append(f"loss of the step as logged: {logged!r}")
        if replayed is not None:
            sentences.append(f"loss of the step as replayed: {replayed!r}")
        if logged is not None and replayed is not None:
            same = "equal to the last bit" if logged == replayed else f"{replayed - logged:+.3g}"
            sentences.append(f"replayed against logged: {same}")
        return sentences

    def as_text(self) -> str:
        """Everything; masked tokens as the model saw them, with [what was there|its guess]."""
        lines = self.sentences()
        for number, row in enumerate(self.rows):
            lines += ["", row.sentence(number)]
            for doc_id, tokens in row.documents():
                lines.append(f"  document {doc_id:016x}: {' '.join(map(_token_as_text, tokens))}")
        return "\n".join(lines)


def _token_as_text(token: PredictedToken) -> str:
    return f"{token.seen}[{token.target}|{token.guess}]" if token.is_masked else token.seen
