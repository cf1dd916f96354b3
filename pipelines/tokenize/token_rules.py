"""The rules that decide by its tokens whether a document is kept, each off by default."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipelines.records.ragged import Ragged, begins_run
from pipelines.tokenize.config import TokenizeConfig
from pipelines.tokenize.signatures import hash_runs


def refuse_documents(
    tokens: Ragged, config: TokenizeConfig, unk_id: int
) -> dict[str, NDArray[np.bool_]]:
    """Which of n documents are dropped, bool[n], by reason; each by the first that there is."""
    lengths = tokens.lengths
    refused = {"no_tokens": lengths == 0, "short": lengths < config.min_tokens}
    if config.max_tokens:
        refused["long"] = lengths > config.max_tokens
    if config.max_unknown < 1:
        refused["unknown"] = _per_document(tokens, tokens.values == unk_id) > config.max_unknown
    if config.max_repeated_runs < 1:
        refused["repeated_runs"] = share_of_repeated_runs(tokens) > config.max_repeated_runs
    taken = np.zeros(len(tokens), bool)
    for reason, chosen in refused.items():
        refused[reason] = chosen & ~taken
        taken |= chosen
    return refused


def share_of_repeated_runs(tokens: Ragged) -> NDArray[np.float64]:
    """float64[n]: of each document's runs of 5 tokens, the share that stand in it before."""
    kept = np.flatnonzero(tokens.lengths)
    runs = hash_runs(tokens.take(kept))
    order = np.lexsort((runs.values, np.repeat(np.arange(len(runs)), runs.lengths)))
    ordered = runs.values[order]
    repeats = ~begins_run(ordered)
    repeats[runs.offsets[:-1]] = False
    shares = np.zeros(len(tokens))
    shares[kept] = _per_document(runs, repeats)
    return shares


def _per_document(lists: Ragged, chosen: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The share of each document's values that are chosen; 0 where there are none."""
    sums = np.append(0, np.cumsum(chosen))[lists.offsets]
    return np.diff(sums) / np.maximum(1, lists.lengths)
