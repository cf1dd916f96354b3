"""Which files an output has, and which of them each document belongs to: functions of keys alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.keyed_random import fold, purpose_key, uniform
from pipelines.tokenize.config import TokenizeConfig


@dataclass(frozen=True)
class Shard:
    """One file to write: the split, its number, and how many shards the split has."""

    split: str
    index: int
    count: int


def plan_shards(config: TokenizeConfig) -> list[Shard]:
    """All shards of the output; the position in this list is the key that Beam groups by."""
    train = [Shard("train", i, config.num_shards) for i in range(config.num_shards)]
    if config.validation_fraction == 0:
        return train
    count = max(1, round(config.num_shards * config.validation_fraction))
    return train + [Shard("validation", i, count) for i in range(count)]


def assign_shards(doc_ids: NDArray[np.uint64], config: TokenizeConfig) -> NDArray[np.int64]:
    """The index in ``plan_shards`` of each document, int64[n]: a function of its id alone."""
    plan = plan_shards(config)
    validation_count = len(plan) - config.num_shards
    draw = fold(purpose_key(config.seed, "shard"), doc_ids)
    shards = (draw % np.uint64(config.num_shards)).astype(np.int64)
    if validation_count:
        held_out = uniform(fold(purpose_key(config.seed, "validation split"), doc_ids))
        beyond = config.num_shards + (draw % np.uint64(validation_count)).astype(np.int64)
        shards = np.where(held_out < config.validation_fraction, beyond, shards)
    return shards
