"""How to mask: the settings, which of them are impossible, and how many positions they ask for.

The number is exactly ``ceil(mask_selection_rate * selectable positions)``, computed in 32-bit
floats, and at most ``mask_selection_length``: as KerasNLP (tensorflow_text's RandomItemSelector).
So only which positions are chosen is random, not how many.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from pipelines.command.options import CHOOSE, option
from pipelines.errors import UserError

Strategy = Literal["token", "whole_word", "span"]
STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)


@dataclass(frozen=True)
class MaskConfig:
    """How to mask, with BERT's defaults: the base of every config with these options."""

    mask_selection_rate: float = option(0.15, group="masking", metavar="RATE")
    """Share of a row's tokens to predict, special tokens apart; BERT's 0.15 suits most, up to 0.4
    large models."""

    mask_selection_length: int | None = option(None, group="masking")
    """Most positions to predict in a row, the width of the mask arrays; default: what the rate gives
    for a full row."""

    mask_token_rate: float = option(0.8, group="masking", metavar="RATE")
    """Share of the chosen positions that become [MASK]."""

    random_token_rate: float = option(0.1, group="masking", metavar="RATE")
    """Share of the chosen positions that become a random token, drawn from the whole vocabulary;
    the rest stay as they are."""

    strategy: Strategy = option("token", group="masking")
    """token: single positions; whole_word: all pieces of a word, each replaced on its own; span: runs
    of 1 to 10 words, all masked, all random or all kept."""

    seed: int = option(0, group="masking")
    """Decides the masks, together with the row and the copy."""

    def masking(self) -> dict[str, Any]:
        """These fields by name, without those of a subclass."""
        return {field.name: getattr(self, field.name) for field in fields(MaskConfig)}

    def check_masking(
        self, *, vocabulary_size: int, mask_token_id: int | None, seq_length: int | None = None
    ) -> None:
        """Raises UserError where masking is impossible, as such or with this vocabulary or length.

        ``mask_token_id`` None: the vocabulary has no mask token. ``seq_length`` None: any length,
        also of which nothing is to be predicted.
        """
        for name in ("mask_selection_rate", "mask_token_rate", "random_token_rate"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"{name} is {getattr(self, name)}: it must be between 0 and 1")
        total = self.mask_token_rate + self.random_token_rate
        if total > 1 + 1e-9:
            raise UserError(
                f"mask_token_rate {self.mask_token_rate} + random_token_rate "
                f"{self.random_token_rate} = {total:g}: together they must be at most 1"
            )
        if self.strategy not in STRATEGIES:
            raise UserError(f"strategy is {self.strategy!r}: choose one of {', '.join(STRATEGIES)}")
        length = self.mask_selection_length
        least = 0 if seq_length is None else 1
        if length is not None and length < least:
            raise UserError(f"mask_selection_length is {length}: it must be at least {least}")
        if length is not None and seq_length is not None and length > seq_length:
            raise UserError(
                f"mask_selection_length is {length}, but a row has only {seq_length} tokens: "
                f"lower it to at most {seq_length}"
            )
        if mask_token_id is None:
            raise UserError(
                "the vocabulary has no [MASK] token: add [MASK] to it (one line of vocab.txt) and "
                "tokenize again"
            )
        if not 0 <= mask_token_id < vocabulary_size:
            raise UserError(
                f"Mask token id should be in range [0, {vocabulary_size - 1}] of the vocabulary, "
                f"but it is {mask_token_id}"
            )

    def selection_length(self, seq_length: int) -> int:
        """The width S of the mask arrays for rows of ``seq_length``."""
        if self.mask_selection_length is not None:
            return self.mask_selection_length
        return int(selection_budgets(np.array([seq_length]), self.mask_selection_rate)[0])


def selection_budgets(selectable: NDArray[np.int64], rate: float) -> NDArray[np.int64]:
    """How many of each row's selectable positions the rate asks for: int64, the same shape."""
    # 32-bit floats on purpose: 0.15 of 100 is 16 in KerasNLP, because there 0.15 is 0.15000001.
    return np.ceil(selectable.astype(np.float32) * np.float32(rate)).astype(np.int64)


@dataclass(frozen=True, kw_only=True)
class MaskStageConfig(MaskConfig):
    """Mask rows ahead of training: each copy is what the trainer computes on the fly in that
    epoch.

    Example: --input runs/rows --output runs/examples --copies 10
    """

    input: str = option(group=CHOOSE, decides=False, metavar="DIR")
    """The output folder of pipelines.tokenize."""

    output: str = option(group=CHOOSE, decides=False, metavar="DIR")
    """The folder to write (local or gs://…)."""

    copies: int = option(1, group=CHOOSE)
    """Maskings of every training row, and how many times as large the output is; the trainer uses
    copy e (modulo copies) in epoch e. Give the number of epochs."""

    format: Literal["array_record", "tfrecord"] = option("array_record", group="the output")
    """array_record gives the trainer random access; tfrecord holds tf.train.Examples."""

    def check(self) -> None:
        """Raises UserError for values that cannot work with any rows."""
        if not 1 <= self.copies <= 65535:
            raise UserError(f"--copies {self.copies}: must be between 1 and 65535")
