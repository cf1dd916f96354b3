"""How many shards an input goes into where nobody asks for a number: a function of its size."""

from __future__ import annotations

import numpy as np

from pipelines.records.codec import token_dtype
from pipelines.tokenize.config import FEWEST_SHARDS

# Bytes of token ids for a shard, at most. A worker has them on its disk, and in some engines in memory,
# before it writes the shard.
SHARD_BYTES = 512 << 20
# Bytes of text for a token: English has 4.7, Chinese 3.
_TEXT_OF_TOKEN = 4
_MOST = 1 << 16


def estimate_id_bytes(text_bytes: int, vocabulary_size: int) -> int:
    """The bytes of the token ids of so much text, roughly."""
    return text_bytes // _TEXT_OF_TOKEN * np.dtype(token_dtype(vocabulary_size)).itemsize


def count_shards(id_bytes: int) -> int:
    """8 shards, doubled until each has at most ``SHARD_BYTES`` of token ids: more than half of that."""
    count = FEWEST_SHARDS
    while id_bytes > count * SHARD_BYTES and count < _MOST:
        count *= 2
    return count
