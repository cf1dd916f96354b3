"""How to mask: the settings, what is possible, and how many positions they ask for.

The number is exactly ``ceil(mask_selection_rate * selectable positions)``, computed in 32-bit
floats, and at most ``mask_selection_length``: as KerasNLP (tensorflow_text's RandomItemSelector).
So only which positions are chosen is random, not how many.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import UserError

STRATEGIES = ("token", "whole_word", "span")


@dataclass(frozen=True)
class MaskConfig:
    """How to mask, with BERT's defaults.

    mask_selection_rate: share of a row's selectable positions to predict.
    mask_selection_length: most positions a row, and the width of the outputs; None: what the
        rate gives for a full row (``selection_length``).
    mask_token_rate: chance that a chosen position becomes the mask token.
    random_token_rate: chance that it becomes a random token, drawn uniformly from the whole
        vocabulary as in KerasNLP; otherwise it stays as it is.
    strategy: "token" (single positions), "whole_word" (all pieces of a word; each piece is
        replaced on its own) or "span" (runs of 1 to 10 words; all mask, all random or all kept).
    seed: any integer.
    """

    mask_selection_rate: float = 0.15
    mask_selection_length: int | None = None
    mask_token_rate: float = 0.8
    random_token_rate: float = 0.1
    strategy: str = "token"
    seed: int = 0


def check(
    config: MaskConfig,
    *,
    vocabulary_size: int,
    mask_token_id: int | None,
    seq_length: int | None = None,
) -> None:
    """Raises UserError where the config is impossible, alone or with this vocabulary or row length.

    ``mask_token_id`` None: the vocabulary has no mask token. ``seq_length`` None: any length.
    """
    for name in ("mask_selection_rate", "mask_token_rate", "random_token_rate"):
        rate = getattr(config, name)
        if not 0 <= rate <= 1:
            raise UserError(f"{name} is {rate}: it must be between 0 and 1")
    total = config.mask_token_rate + config.random_token_rate
    if total > 1 + 1e-9:
        raise UserError(
            f"mask_token_rate {config.mask_token_rate} + random_token_rate "
            f"{config.random_token_rate} = {total:g}: together they must be at most 1"
        )
    if config.strategy not in STRATEGIES:
        raise UserError(f"strategy is {config.strategy!r}: choose one of {', '.join(STRATEGIES)}")
    length = config.mask_selection_length
    if length is not None and length < 1:
        raise UserError(f"mask_selection_length is {length}: it must be at least 1")
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


def selection_budgets(selectable: NDArray[np.int64], rate: float) -> NDArray[np.int64]:
    """How many of so many selectable positions the rate asks for. The same shape, int64."""
    # 32-bit floats on purpose: 0.15 of 100 is 16 in KerasNLP, because there 0.15 is 0.15000001.
    return np.ceil(selectable.astype(np.float32) * np.float32(rate)).astype(np.int64)


def selection_length(config: MaskConfig, seq_length: int) -> int:
    """The width S of the outputs for rows of ``seq_length``."""
    if config.mask_selection_length is not None:
        return config.mask_selection_length
    return int(selection_budgets(np.array([seq_length]), config.mask_selection_rate)[0])
