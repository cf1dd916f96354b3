"""The options of ``python -m pipelines.mask``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pipelines.errors import UserError
from pipelines.mask.mask_rows import MaskConfig
from pipelines.options import CHOOSE, option


@dataclass(frozen=True, kw_only=True)
class MaskingConfig:
    """Mask rows ahead of training: each copy is what the trainer computes on the fly in that
    epoch."""

    input: str = option(group=CHOOSE, decides=False, metavar="DIR")
    """The output folder of pipelines.tokenize."""

    output: str = option(group=CHOOSE, decides=False, metavar="DIR")
    """The folder to write (local or gs://…)."""

    copies: int = 1
    """Maskings of every training row; the trainer uses copy e (modulo copies) in epoch e."""

    mask_selection_rate: float = 0.15
    """Share of the tokens of a row to predict."""

    mask_selection_length: int | None = None
    """Most positions to predict in a row; default: what the rate gives for a full row."""

    mask_token_rate: float = 0.8
    """Share of the chosen positions that become [MASK]."""

    random_token_rate: float = 0.1
    """Share of the chosen positions that become a random token; the rest stay as they are."""

    strategy: Literal["token", "whole_word", "span"] = "token"
    """token: single positions; whole_word: all pieces of a word; span: runs of words."""

    seed: int = 0
    """Decides the masks, together with the row and the copy."""

    format: Literal["array_record", "tfrecord"] = "array_record"
    """array_record gives the trainer random access; tfrecord holds tf.train.Examples."""

    def check(self) -> None:
        """Raises UserError for values that cannot work with any rows."""
        if not 1 <= self.copies <= 65535:
            raise UserError(f"--copies {self.copies}: must be between 1 and 65535")

    def mask_config(self) -> MaskConfig:
        """The fields that decide the masks."""
        return MaskConfig(
            mask_selection_rate=self.mask_selection_rate,
            mask_selection_length=self.mask_selection_length,
            mask_token_rate=self.mask_token_rate,
            random_token_rate=self.random_token_rate,
            strategy=self.strategy,
            seed=self.seed,
        )
