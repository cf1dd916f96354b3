"""Batches of raw samples for Keras, preprocessed when they are asked for; no TensorFlow needed.

The order of samples in an epoch is a pure function of the number of the epoch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from pipelines.keyed_random import fold, purpose_key


class StringBatches(keras.utils.PyDataset):
    """Batch i of the samples, after ``preprocess(x, y, sample_weight)``.

    ``x`` are strings, a tuple of such segments, or what else ``preprocess`` takes; ``y`` and
    ``sample_weight`` may be None. The last batch may be smaller; with ``shuffle`` epochs have
    different orders.
    """

    def __init__(
        self,
        preprocess: Callable[..., Any],
        x: Any,
        y: Any,
        sample_weight: Any,
        batch_size: int,
        shuffle: bool,
    ) -> None:
        super().__init__()
        self._preprocess = preprocess
        self._data = [map_leaves(_as_array, value) for value in (x, y, sample_weight)]
        self._batch_size = batch_size
        self._shuffle = shuffle
        self._epoch = -1
        self._samples = count_samples(self._data)
        self.on_epoch_end()

    def __len__(self) -> int:
        return -(-self._samples // self._batch_size)

    def __getitem__(self, index: int) -> Any:
        rows = self._order[index * self._batch_size : (index + 1) * self._batch_size]
        return self._preprocess(*(map_leaves(lambda a: a[rows], value) for value in self._data))

    def on_epoch_end(self) -> None:
        self._epoch += 1
        self._order = np.arange(self._samples)
        if self._shuffle:
            key = purpose_key(0, "order of samples")
            self._order = np.argsort(fold(key, self._epoch, self._order))


def map_leaves(function: Callable[[Any], Any], value: Any) -> Any:
    """Applies a function inside tuples and dicts; a list is one leaf. None stays None."""
    if value is None:
        return None
    if isinstance(value, tuple):
        return tuple(map_leaves(function, element) for element in value)
    if isinstance(value, dict):
        return {name: map_leaves(function, element) for name, element in value.items()}
    return function(value)


def count_samples(data: Any) -> int:
    """The common length of all arrays; ValueError where they differ or one has no length."""
    arrays = [array for array in keras.tree.flatten(data) if array is not None]
    if any(array.ndim == 0 for array in arrays):
        raise ValueError("fit, evaluate and predict need a batch: wrap one sample in a list")
    lengths = {len(array) for array in arrays}
    if len(lengths) != 1:
        raise ValueError(f"x, y and sample_weight have different lengths: {sorted(lengths)}")
    return lengths.pop()


def split_for_validation(x: Any, y: Any, sample_weight: Any, fraction: float) -> tuple[Any, Any]:
    """The first samples for training and the last ``fraction`` of them for validation."""
    data = tuple(map_leaves(_as_array, value) for value in (x, y, sample_weight))
    samples = count_samples(data)
    cut = int(samples * (1.0 - fraction))
    if not 0 < cut < samples:
        raise ValueError(f"validation_split={fraction} of {samples} samples leaves one side empty")
    first = map_leaves(lambda a: a[:cut], data)
    return first, map_leaves(lambda a: a[cut:], data)


def _as_array(value: Any) -> NDArray:
    if isinstance(value, (list, tuple)) and value and isinstance(value[0], (str, bytes)):
        # Not a fixed-width string array, each string as long as the longest.
        array = np.empty(len(value), object)
        array[:] = value
        return array
    array = np.asarray(value)
    # As Keras does with Python numbers.
    return array.astype(np.float32) if array.dtype == np.float64 else array
