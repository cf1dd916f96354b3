"""Training texts with some of their tokens hidden, so that a classifier does not learn them by heart."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipelines.keyed_random import fold, uniform


def drop_tokens(
    token_ids: NDArray[np.int32], rate: float, key: ArrayLike, tokenizer: Any
) -> NDArray[np.int32]:
    """The ids, each replaced by [MASK] with probability ``rate``, but for [CLS], [SEP] and [PAD].

    Which ones follows from ``key`` and the positions in the array alone.
    """
    kept = (tokenizer.start_token_id, tokenizer.end_token_id, tokenizer.pad_token_id)
    hidden = uniform(fold(key, np.arange(token_ids.size))).reshape(token_ids.shape) < rate
    mask_id = np.int32(tokenizer.mask_token_id)
    return np.where(hidden & ~np.isin(token_ids, kept), mask_id, token_ids)
