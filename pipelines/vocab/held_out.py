"""How good a vocabulary is: what it makes of text that was not learned from.

The vocabulary that is written is learned from all documents. What is reported of it is measured
with a second one, learned in the same way without the held-out sample, and on that sample.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.text.vocabulary import Vocabulary
from pipelines.text.wordpiece import WordIds


def measure_pieces(
    tokens: Sequence[str],
    words: Sequence[str],
    counts: NDArray[np.int64],
    *,
    suffix_indicator: str,
    text_bytes: int,
) -> dict[str, Any]:
    """What these tokens make of counted words.

    ``counts`` int64[n]: occurrences of each word, at least one in all; ``text_bytes``: the UTF-8
    bytes of the text that they come from. Gives ``pieces_per_word``; ``unknown_rate``, the share
    of words that are [UNK] (one piece each); ``bytes_per_token``; and ``continued_share``, the
    share of pieces that continue a word.
    """
    vocabulary = Vocabulary(tuple(tokens), suffix_indicator)
    ids = WordIds(vocabulary)
    splits = [ids[word] for word in words]
    lengths = np.fromiter(map(len, splits), np.int64, len(splits))
    is_unknown = np.fromiter((vocabulary.unk_id in split for split in splits), bool, len(splits))
    pieces, total = int((lengths * counts).sum()), int(counts.sum())
    return {
        "pieces_per_word": round(pieces / total, 4),
        "unknown_rate": round(int(counts[is_unknown].sum()) / total, 6),
        "bytes_per_token": round(text_bytes / pieces, 4),
        "continued_share": round((pieces - total) / pieces, 4),
    }
