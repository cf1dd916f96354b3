"""Masks token ids for masked language modelling inside ``tf.data`` or eagerly.

Arguments and results are KerasNLP's ``MaskedLMMaskGenerator`` plus ``seed``; the masking is
``pipelines.mask.mask_rows``. A row's masks are a function of the seed, its token ids and how many
times this layer has masked those same ids before. So epochs differ, and yet a new layer with the
same seed repeats them whatever the batches, the order or the number of parallel calls.
"""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from pipelines.keyed_random import fold, fold_scrambled, scramble
from pipelines.mask.config import MaskConfig
from pipelines.mask.mask_rows import mask_rows
from trainer.layers.constructor_arguments import ConstructorArguments
from trainer.layers.preprocessing_layer import PreprocessingLayer, map_rows, tracing_tensorflow

_NAMES = ("token_ids", "mask_positions", "mask_ids", "mask_weights")


class _Sightings:
    """How many times each row was masked; safe to share between threads."""

    def __init__(self) -> None:
        self._times: Counter[int] = Counter()
        self._lock = threading.Lock()

    def count(self, row_id: NDArray[np.uint64]) -> NDArray[np.int64]:
        """int64[N], how many times each row was seen before, counting earlier rows of this call."""
        times = np.zeros(len(row_id), np.int64)
        with self._lock:
            for i, key in enumerate(row_id.tolist()):
                times[i] = self._times[key]
                self._times[key] += 1
        return times


@keras.saving.register_keras_serializable(package="bertmill")
class MaskedLMMaskGenerator(ConstructorArguments, PreprocessingLayer):
    """Chooses positions of each row to predict and hides most of them.

    Exactly ``ceil(mask_selection_rate * selectable tokens)`` positions of a row are chosen, at
    most ``mask_selection_length``. The layer remembers each row it has seen by a 64-bit number
    (about 100 bytes a distinct row).

    Args:
        vocabulary_size: number of ids; random tokens are drawn from all of them.
        mask_selection_rate: share of the selectable tokens to predict.
        mask_token_id: id of the mask token.
        mask_selection_length: most tokens to predict in a row, and the width of the outputs; None:
            no limit and ragged outputs.
        unselectable_token_ids: never chosen.
        mask_token_rate: chance that a chosen token becomes the mask token.
        random_token_rate: chance that it becomes a random token; else it stays.
        seed: None: a new one for each layer (``keras.utils.set_random_seed`` decides it).

    Raises:
        UserError: arguments that are impossible, or ids outside the vocabulary.
    """

    def __init__(
        self,
        vocabulary_size: int,
        mask_selection_rate: float,
        mask_token_id: int,
        mask_selection_length: int | None = None,
        unselectable_token_ids: Sequence[int] = [0],
        mask_token_rate: float = 0.8,
        random_token_rate: float = 0.1,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.vocabulary_size = vocabulary_size
        self.mask_selection_rate = mask_selection_rate
        self.mask_token_id = mask_token_id
        self.mask_selection_length = mask_selection_length
        self.unselectable_token_ids = list(unselectable_token_ids)
        self.mask_token_rate = mask_token_rate
        self.random_token_rate = random_token_rate
        self.seed = seed
        self._mask_config = MaskConfig(
            mask_selection_rate=mask_selection_rate,
            mask_selection_length=mask_selection_length,
            mask_token_rate=mask_token_rate,
            random_token_rate=random_token_rate,
            seed=random.getrandbits(63) if seed is None else seed,
        )
        self._mask_config.check_masking(
            vocabulary_size=vocabulary_size, mask_token_id=mask_token_id
        )
        self._sightings = _Sightings()

    def call(self, inputs: Any) -> dict[str, Any]:
        """Masks one sequence of ids, or a batch of them.

        Args:
            inputs: a list, array or tensor of rank 1 or 2, or a ragged batch.

        Returns:
            ``token_ids`` like the inputs; ``mask_positions`` (sorted), ``mask_ids`` (the original
            ids) and ``mask_weights`` (1.0, or 0.0 for padding), each
            [batch, mask_selection_length], or ragged where that is None; without [batch, …] for
            one sequence. Numpy arrays, or lists where ragged; in a TensorFlow graph its tensors.
        """
        dtype, shape = "int32", None
        rows: int | None = None
        if tracing_tensorflow():
            dtype = inputs.dtype.name
            rows, length = inputs.shape if len(inputs.shape) == 2 else (1, *inputs.shape)
            shape = None if hasattr(inputs, "row_lengths") else (rows, length)  # ragged or dense
        width = self.mask_selection_length
        masks = None if width is None else (rows, width)
        outputs = [(dtype, shape), ("int64", masks), (dtype, masks), (self.compute_dtype, masks)]
        arrays = map_rows(self._mask, (inputs,), outputs, stateful=True)
        return dict(zip(_NAMES, arrays, strict=True))

    def _mask(self, rows: Any) -> list[Any]:
        """``mask_rows`` on ids [N, L] or rows of different lengths."""
        lengths = np.array([len(row) for row in rows], np.int64)
        present = np.arange(lengths.max(initial=0)) < lengths[:, None]
        ids = rows
        if not isinstance(rows, np.ndarray):
            ids = np.zeros(present.shape, np.int64)
            for padded, row in zip(ids, rows, strict=True):
                padded[: len(row)] = row
        row_id = content_ids(ids, present)
        pieces = range(self.vocabulary_size)
        outputs, _ = mask_rows(
            ids,
            row_id,
            config=self._mask_config,
            vocabulary_size=self.vocabulary_size,
            mask_token_id=self.mask_token_id,
            unselectable_token_ids=[i for i in self.unselectable_token_ids if i in pieces],
            padding_mask=present,
            copy=self._sightings.count(row_id),
        )
        token_ids, *masks = (outputs[name] for name in _NAMES)
        if self.mask_selection_length is None:
            selected = np.count_nonzero(outputs["mask_weights"], axis=1)
            masks = [_cut(values, selected) for values in masks]
        return [_cut(token_ids, lengths), *masks]


def content_ids(ids: NDArray, present: NDArray[np.bool_]) -> NDArray[np.uint64]:
    """uint64[N], a number for the token ids of each row [N, L], whatever the padding."""
    scrambled = scramble(np.arange(ids.shape[1]))
    terms = fold_scrambled(ids.astype(np.uint64), scrambled).reshape(ids.shape)
    terms *= present
    return fold(terms.sum(axis=1, dtype=np.uint64), present.sum(axis=1))


def _cut(array: NDArray, lengths: NDArray[np.int64]) -> Any:
    """The first values of each row: an array where they are equally long, else a list of lists."""
    if len(lengths) and (lengths == lengths[0]).all():
        return array[:, : lengths[0]]
    return [row[:length].tolist() for row, length in zip(array, lengths, strict=True)]
