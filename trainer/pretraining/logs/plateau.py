"""Notices a run that does not get well below the loss of always guessing tokens by their frequency.

A BERT first learns which tokens are frequent, then which occur in what kind of text, and may stand
still there, not a tenth below that loss, until attention finds the neighbours of a token.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

# The plateau ends at this share of the loss of guessing by frequency.
_END = 0.9
# So long, after the warm-up, is no cause for concern.
_FEW_STEPS, _SHARE_OF_STEPS = 1000, 0.1
# So many documents that repeat others are worth a word.
_MANY_REPEATED = 0.05


class Plateau:
    """The plateau of a run of ``steps`` steps, which has logged some ``lines`` already.

    ``guessing``: the loss of guessing by frequency; None: unknown, and there is nothing to say.
    ``repeated``: the share of documents that repeat others.
    """

    def __init__(
        self,
        guessing: float | None,
        steps: int,
        warmup_steps: int,
        lines: Iterable[Mapping[str, Any]] = (),
        *,
        repeated: float = 0.0,
    ):
        self._repeated = repeated
        self._guessing, self._since = guessing, warmup_steps
        self._longest = max(_FEW_STEPS, _SHARE_OF_STEPS * steps)
        self._is_told = False
        for line in lines:
            self.see(line)

    def see(self, line: Mapping[str, Any]) -> str:
        """Takes a logged line; says, once, that the run has been on the plateau for too long."""
        if self._guessing is None or self._is_told:
            return ""
        step, loss = line["step"], line["mean_loss"]
        if loss < _END * self._guessing:
            self._since = max(step, self._since)
        if step - self._since < self._longest:
            return ""
        self._is_told = True
        return (
            f"after {step:,} steps a loss of {loss:.2f} is still about that of guessing by frequency, "
            f"{self._guessing:.2f}: neighbours of words are not found yet. A smaller --batch_size, "
            "shorter rows at first or --initial_positions sinusoidal found them sooner; too high a "
            "--learning_rate never did (docs/imdb.md)" + self._describe_repeated()
        )

    def _describe_repeated(self) -> str:
        if self._repeated < _MANY_REPEATED:
            return ""
        return (
            f". {self._repeated:.0%} of the documents repeat others: tokenize with --deduplicate, "
            "and as many steps see more"
        )
