"""Long texts read in windows: every window is classified, and the text has the mean of their outputs.

A classifier that was trained so is an ordinary one, of one window: KerasHub and Transformers give each
window the outputs that are averaged here.

Shapes: N texts of a batch, W windows of the longest of them, L tokens of the longest window.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.records.ragged import Ragged

# Memory and compiling grow with them; longer texts lose their middle.
MOST_WINDOWS = 8
_SPECIAL = 2
# Each number of windows and each length is compiled once.
_LENGTHS = 4


def keep_ends(ids: Sequence[int], seq_length: int) -> Sequence[int]:
    """The ids of a text, or the first and the last of them where ``MOST_WINDOWS`` do not hold all."""
    most = MOST_WINDOWS * (seq_length - _SPECIAL)
    if len(ids) <= most:
        return ids
    return [*ids[: most // 2], *ids[len(ids) - most // 2 :]]


def lay_out(tokens: Ragged, size: int, seq_length: int, pad_id: int) -> dict[str, NDArray[Any]]:
    """What ``WindowAverage`` takes of ``size`` texts [CLS] … [SEP], each in windows of like length.

    The arrays' length is a quarter of ``seq_length``, two, three, or all of it, as the longest needs.
    """
    counts = np.maximum(1, -(-(tokens.lengths - _SPECIAL) // (seq_length - _SPECIAL)))
    shape = (size, int(counts.max()), seq_length)
    token_ids = np.full(shape, pad_id, np.int32)
    lengths = np.ones(shape[:2], np.int64)  # attention to nothing at all has no softmax
    for i, count in enumerate(counts.tolist()):
        start, *text, end = tokens.values[tokens.offsets[i] : tokens.offsets[i + 1]].tolist()
        for j, piece in enumerate(np.array_split(np.array(text, np.int32), count)):
            lengths[i, j] = len(piece) + _SPECIAL
            token_ids[i, j, : lengths[i, j]] = [start, *piece, end]
    present = np.arange(shape[1]) < counts[:, None]
    step = 8 * -(-seq_length // (8 * _LENGTHS))
    longest = min(seq_length, step * -(-int(lengths.max()) // step))
    return {
        "token_ids": token_ids[:, :, :longest],
        "segment_ids": np.zeros((*shape[:2], longest), np.int32),
        "padding_mask": np.arange(longest) < lengths[:, :, None],
        "window_weights": (present / counts[:, None]).astype(np.float32),
    }
