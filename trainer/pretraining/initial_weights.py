"""Initial weights, drawn from a run's seed.

A pure function of the seed and each variable's name, equal on all backends. BERT's: kernels and
embeddings from a normal distribution of standard deviation 0.02 cut at two standard deviations
(google-research/bert, modeling.py), biases 0, normalisation 1.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.keyed_random import fold, purpose_key, uniform
from trainer.pretraining.optimizer import is_decayed

_DEVIATION = 0.02
# Of the sinusoids. Large enough that attention finds neighbours by position before it settles for
# which words occur at all: with 0.05 it still settles, with 0.2 that takes longer, with 0.4 words are
# drowned out.
_AMPLITUDE = 0.1
_POSITIONS = "position_embedding/embeddings"


def initialize_weights(
    model: Any, seed: int, *, sinusoidal_positions: bool = False, given: Collection[str] = ()
) -> None:
    """Assigns all kernels and embedding tables of a model; biases and the like stay as built.

    ``sinusoidal_positions``: the position embeddings begin as sinusoids (Vaswani et al. 2017, section
    3.5) and are trained like all else. ``given``: the paths of variables that have their weights.
    """
    for variable in model.trainable_variables:
        if variable.path in given:
            continue
        if sinusoidal_positions and variable.path.endswith(_POSITIONS):
            variable.assign(_AMPLITUDE * make_sinusoids(*variable.shape))
        elif is_decayed(variable):
            key = purpose_key(seed, f"initial {variable.path}")
            values = draw_truncated_normal(key, math.prod(variable.shape))
            variable.assign((_DEVIATION * values).astype(np.float32).reshape(variable.shape))


def make_sinusoids(positions: int, width: int) -> NDArray[np.float32]:
    """float32[positions, width]: sines, then cosines, of wavelengths from 2 pi to 20,000 pi."""
    sines = (width + 1) // 2
    angles = np.arange(positions)[:, None] / 10000.0 ** (np.arange(sines) / sines)
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1)[:, :width].astype(np.float32)


def draw_truncated_normal(key: NDArray[np.uint64], count: int) -> NDArray[np.float64]:
    """float64[count]: standard normal numbers, those beyond two drawn again."""
    result = np.empty(count)
    missing = np.arange(count)
    attempt = 0
    while len(missing):
        bits = fold(key, attempt, missing)
        # Box and Muller 1958; 1 - u is never 0.
        radius = np.sqrt(-2 * np.log(1 - uniform(fold(bits, 0))))
        result[missing] = radius * np.cos(2 * np.pi * uniform(fold(bits, 1)))
        missing = missing[np.abs(result[missing]) > 2]
        attempt += 1
    return result
