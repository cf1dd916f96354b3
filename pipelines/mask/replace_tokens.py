"""Replaces the chosen positions: by the mask token, by a random token, or not at all.

Each choice and each random token has a draw of its own, keyed by row and position; the positions
of a span share the choice of its first position (SpanBERT, section 3.1). Random tokens come from
the whole vocabulary, special tokens included, as in KerasNLP.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from pipelines.keyed_random import below, bernoulli, fold_scrambled, scramble
from pipelines.mask.config import MaskConfig


def replace_tokens(
    outputs: dict[str, NDArray],
    indices: NDArray[np.int64],
    leaders: NDArray[np.int64],
    *,
    choice_keys: NDArray[np.uint64],
    token_keys: NDArray[np.uint64],
    config: MaskConfig,
    vocabulary_size: int,
    mask_token_id: int,
) -> Counter[str]:
    """Fills in the outputs of R rows, in place, and counts rows and tokens as ``mask_rows`` does.

    ``outputs``: as ``mask_rows`` returns them, C-contiguous, still with the original ids and zeros;
    ``indices`` int64[T]: the chosen positions, sorted, in the flattened [R * L] rows; ``leaders``
    int64[T]: the position whose draw decides what happens to each of them; ``choice_keys`` and
    ``token_keys`` uint64[R]: the rows' keys for the choices and for random tokens.
    """
    rows, row_length = outputs["token_ids"].shape
    row_starts = np.arange(rows) * row_length
    per_row = np.diff(np.searchsorted(indices, row_starts), append=len(indices))
    row_start = np.repeat(row_starts, per_row)
    positions = indices - row_start
    tokens = outputs["token_ids"].reshape(-1)
    original = tokens[indices]

    scrambled = scramble(np.arange(row_length))
    deciding = positions if leaders is indices else leaders - row_start
    bits = fold_scrambled(np.repeat(choice_keys, per_row), scrambled[deciding])
    masked = bernoulli(bits, config.mask_token_rate)
    changed = bernoulli(bits, min(1.0, config.mask_token_rate + config.random_token_rate))
    replaced = np.where(masked, np.int32(mask_token_id), original)
    randomised = np.flatnonzero(changed & ~masked)
    token_key = token_keys[indices[randomised] // row_length]
    bits = fold_scrambled(token_key, scrambled[positions[randomised]])
    replaced[randomised] = below(bits, vocabulary_size)
    tokens[indices] = replaced

    used = np.arange(outputs["mask_weights"].shape[1]) < per_row[:, None]
    slots = np.flatnonzero(used)
    outputs["mask_positions"].reshape(-1)[slots] = positions.astype(np.int32)
    outputs["mask_ids"].reshape(-1)[slots] = original
    outputs["mask_weights"][...] = used
    tokens_masked = int(np.count_nonzero(masked))
    return Counter(
        rows=rows,
        rows_without_selection=int(np.count_nonzero(per_row == 0)),
        tokens_selected=len(indices),
        tokens_masked=tokens_masked,
        tokens_randomised=len(randomised),
        tokens_kept=len(indices) - tokens_masked - len(randomised),
    )
