"""Mixtures: which source each row of an endless stream comes from, as a pure function of its place.

Proportions are exact in every ``MIXTURE_ROUND`` rows and hold within a few rows in every stretch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import UserError
from pipelines.keyed_random import fold, purpose_key, uniform

# A mixture's proportions are exact in every stretch of this many rows.
MIXTURE_ROUND = 1 << 14


def weigh_by_temperature(rows: Sequence[int], temperature: float) -> list[float]:
    """The share of each source, rows ** (1 / temperature), adding up to 1.

    1 takes the sources by their size, infinity all alike (Devlin 2019, multilingual BERT, took 0.7
    as exponent). Raises UserError for a temperature below 1.
    """
    if not temperature >= 1:
        raise UserError(
            f"--temperature {temperature:g}: must be at least 1 (1: by size; more: more alike)"
        )
    powers = [math.exp(math.log(count) / temperature) for count in rows]
    return [power / sum(powers) for power in powers]


def count_shares(weights: Sequence[float]) -> tuple[int, ...]:
    """How many rows of every ``MIXTURE_ROUND`` each source gives (largest remainders, at least 1).

    Raises UserError for weights that are not positive numbers.
    """
    shares = np.asarray(weights, np.float64)
    if not (np.isfinite(shares).all() and (shares > 0).all()):
        raise UserError(f"mixture weights {list(weights)}: every weight must be a positive number")
    exact = shares / shares.sum() * MIXTURE_ROUND
    counts = np.maximum(np.floor(exact), 1).astype(np.int64)
    missing = MIXTURE_ROUND - int(counts.sum())
    if missing < 0:
        counts[np.argmax(counts)] += missing
    else:
        counts[np.argsort(counts - exact, kind="stable")[:missing]] += 1
    return tuple(counts.tolist())


def mixture_at(
    positions: NDArray[np.int64], counts: tuple[int, ...], seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For each position of the endless mixture: its source and how many rows of it came before."""
    rounds, slots = np.divmod(positions, MIXTURE_ROUND)
    source = np.empty_like(positions)
    drawn = np.empty_like(positions)
    for number in np.unique(rounds):
        of_round = rounds == number
        sources, ranks = _mixture_round(int(number), counts, seed)
        source[of_round] = sources[slots[of_round]]
        drawn[of_round] = ranks[slots[of_round]] + number * np.asarray(counts)[source[of_round]]
    return source, drawn


def drawn_before(position: int, counts: tuple[int, ...], seed: int) -> list[int]:
    """How many rows of each source come before a position of the endless mixture."""
    number, slot = divmod(position, MIXTURE_ROUND)
    sources, _ = _mixture_round(number, counts, seed)
    within = np.bincount(sources[:slot], minlength=len(counts))
    return (number * np.asarray(counts, np.int64) + within).tolist()


@lru_cache(maxsize=4)
def _mixture_round(
    number: int, counts: tuple[int, ...], seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """One round: the source of each slot, and its rank among the slots of the same source.

    The j-th row of a source with c rows falls at a keyed random moment within [j/c, (j+1)/c), so
    the proportions hold in every stretch, not only on average.
    """
    sources = np.repeat(np.arange(len(counts)), counts)
    ranks = np.concatenate([np.arange(count) for count in counts])
    draws = uniform(fold(purpose_key(seed, "mixture order"), number, sources, ranks))
    order = np.argsort((ranks + draws) / np.asarray(counts)[sources], kind="stable")
    return sources[order], ranks[order]
