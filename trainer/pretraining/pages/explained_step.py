"""What ``trainer.explain`` shows of a step: its sentences, and all of it as text for a terminal."""

from __future__ import annotations

from collections import Counter
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
        row = self.predicted
        found = f"{row.right} of {len(row.masks)} right"
        return f"row {number}: {self.place()}; loss {row.loss:.4f}, {found}"

    def place(self) -> str:
        """Says which row this is, and where it lies."""
        row, origin = self.predicted, self.origin
        return (
            f"{row.row_id:016x}, copy {row.copy}; {origin.folder}, {origin.shard}, "
            f"record {origin.record:,}"
        )

    def documents(self) -> list[tuple[int, list[PredictedToken]]]:
        """The id and the tokens of each document in the row, also where the model saw them as one."""
        tokens = chain.from_iterable(self.predicted.documents)
        each = zip(self.origin.doc_ids, self.origin.lengths, strict=True)
        return [(doc_id, list(islice(tokens, length))) for doc_id, length in each]


@dataclass(frozen=True)
class TokenLoss:
    """A token with all the places in a step where it was to be predicted."""

    token: str
    masks: list[PredictedToken]

    @property
    def loss(self) -> float:
        """The mean loss of its places."""
        return sum(mask.loss for mask in self.masks) / len(self.masks)

    @property
    def right(self) -> int:
        """At how many of them the model was right."""
        return sum(mask.is_right for mask in self.masks)

    @property
    def guess(self) -> str:
        """What the model says there most often."""
        return Counter(str(mask.guess) for mask in self.masks).most_common(1)[0][0]


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

    def losses_by_token(self) -> list[TokenLoss]:
        """The masked tokens of all rows, those with most of the loss first."""
        losses: dict[str, list[PredictedToken]] = {}
        for row in self.rows:
            for mask in row.predicted.masks:
                losses.setdefault(mask.stood, []).append(mask)
        tokens = [TokenLoss(token, masks) for token, masks in losses.items()]
        return sorted(tokens, key=lambda each: (-each.loss * len(each.masks), each.token))

    def as_text(self) -> str:
        """Everything; masked tokens as the model saw them, with what was there, its guess and loss."""
        lines = [*self.sentences(), "notation: what the model saw[what was there|its guess|loss]"]
        for number, row in enumerate(self.rows):
            lines += ["", row.sentence(number)]
            for doc_id, tokens in row.documents():
                lines.append(f"  document {doc_id:016x}: {' '.join(map(_token_as_text, tokens))}")
        return "\n".join(lines)


def _token_as_text(token: PredictedToken) -> str:
    if not token.is_masked:
        return token.seen
    return f"{token.seen}[{token.target}|{token.guess}|{token.loss:.2f}]"
