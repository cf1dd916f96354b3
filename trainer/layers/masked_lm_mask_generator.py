"""Masks token ids for masked language modelling inside ``tf.data`` or eagerly.

Arguments and results are KerasNLP's ``MaskedLMMaskGenerator`` plus ``seed``; the masking is
``pipelines.mask.mask_rows``. A row's masks are a function of the seed, its token ids and how many
times this layer has masked those same ids before. So epochs differ, and yet a new layer with the
same seed repeats them whatever the batches, the order or the number of parallel calls.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from pipelines.errors import UserError
from pipelines.keyed_random import fold, fold_scrambled, scramble
from pipelines.mask.config import MaskConfig
from pipelines.mask.mask_rows import mask_rows
from pipelines.records.ragged import offsets_of
from trainer.layers.preprocessing_layer import (
    PreprocessingLayer,
    ragged_in_graph,
    sequences_of,
    tracing_tensorflow,
)

_MASKS = ("mask_positions", "mask_ids", "mask_weights")


class _Sightings:
    """How many times each row has come by; safe to share between threads."""

    def __init__(self) -> None:
        self._times: dict[int, int] = {}
        self._lock = threading.Lock()

    def count(self, row_id: NDArray[np.uint64]) -> NDArray[np.int64]:
        """int64[N], how many times each row was seen before, this call's rows in turn."""
        times = np.zeros(len(row_id), np.int64)
        with self._lock:
            for i, key in enumerate(row_id.tolist()):
                times[i] = self._times.get(key, 0)
                self._times[key] = int(times[i]) + 1
        return times


@keras.saving.register_keras_serializable(package="bertmill")
class MaskedLMMaskGenerator(PreprocessingLayer):
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
        ValueError: arguments that are impossible, or ids outside the vocabulary.
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
        try:
            self._mask_config.check_masking(
                vocabulary_size=vocabulary_size, mask_token_id=mask_token_id
            )
        except UserError as error:
            raise ValueError(str(error)) from None
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
        if tracing_tensorflow():
            return self._call_in_graph(inputs)
        if isinstance(inputs, (list, tuple)) or hasattr(inputs, "to_list"):
            rows, batched = sequences_of(inputs)
            lengths = np.array([len(row) for row in rows], np.int64)
            flat = np.array([token_id for row in rows for token_id in row], np.int64)
            ids = _padded(flat, lengths)
        else:
            array = np.asarray(inputs)
            batched = array.ndim == 2
            ids = array if batched else array[None]
            lengths = np.full(len(ids), ids.shape[1])
        outputs = self._mask(ids, lengths)
        outputs["token_ids"] = _unpadded(outputs["token_ids"], lengths)
        if self.mask_selection_length is None:
            chosen = np.count_nonzero(outputs["mask_weights"], axis=1)
            for name in _MASKS:
                outputs[name] = _unpadded(outputs[name], chosen)
        return outputs if batched else {name: value[0] for name, value in outputs.items()}

    def _call_in_graph(self, inputs: Any) -> dict[str, Any]:
        import tensorflow as tf

        ragged, batched = ragged_in_graph(inputs)
        dtype, width = ragged.dtype, self.mask_selection_length
        rows = inputs.shape[0] if batched else 1

        def mask(flat: NDArray, splits: NDArray[np.int64]) -> list[NDArray]:
            lengths = np.diff(splits)
            outputs = self._mask(_padded(flat, lengths), lengths)
            tokens = outputs["token_ids"]
            tokens = tokens[np.arange(tokens.shape[1]) < lengths[:, None]]
            masks = [outputs[name] for name in _MASKS]
            used = outputs["mask_weights"] > 0
            if width is None:
                masks = [values[used] for values in masks]
            ids_dtype = dtype.as_numpy_dtype
            dtypes = (ids_dtype, np.int64, ids_dtype, np.float32)
            arrays = [a.astype(t) for a, t in zip([tokens, *masks], dtypes, strict=True)]
            return [*arrays, offsets_of(np.count_nonzero(used, axis=1))]

        # Stateful: the same ids get other masks the next time.
        flat, *masks, offsets = tf.numpy_function(
            mask,
            [ragged.flat_values, tf.cast(ragged.row_splits, tf.int64)],
            [dtype, tf.int64, dtype, tf.float32, tf.int64],
            stateful=True,
        )
        flat.set_shape([None])
        offsets.set_shape([None if rows is None else rows + 1])
        if isinstance(inputs, tf.RaggedTensor):
            token_ids = inputs.with_flat_values(flat)
        else:
            token_ids = tf.reshape(flat, tf.shape(inputs))
            token_ids.set_shape(inputs.shape)
        for values in masks:
            values.set_shape([None] if width is None else [rows, width])
        if width is None:
            masks = [tf.RaggedTensor.from_row_splits(m, offsets, validate=False) for m in masks]
        masks[2] = tf.cast(masks[2], self.compute_dtype)
        if not batched:
            masks = [values[0] for values in masks]
        return {"token_ids": token_ids, **dict(zip(_MASKS, masks, strict=True))}

    def _mask(self, ids: NDArray, lengths: NDArray[np.int64]) -> dict[str, Any]:
        """``mask_rows`` on ids[N, L], of which the first ``lengths[i]`` of row i count."""
        present = np.arange(ids.shape[1]) < lengths[:, None]
        row_id = content_ids(ids, present)
        try:
            outputs, _ = mask_rows(
                ids,
                row_id,
                config=self._mask_config,
                vocabulary_size=self.vocabulary_size,
                mask_token_id=self.mask_token_id,
                unselectable_token_ids=[
                    i for i in self.unselectable_token_ids if 0 <= i < self.vocabulary_size
                ],
                padding_mask=present,
                copy=self._sightings.count(row_id),
            )
        except UserError as error:
            raise ValueError(str(error)) from None
        return outputs

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "vocabulary_size": self.vocabulary_size,
            "mask_selection_rate": self.mask_selection_rate,
            "mask_selection_length": self.mask_selection_length,
            "unselectable_token_ids": list(self.unselectable_token_ids),
            "mask_token_id": self.mask_token_id,
            "mask_token_rate": self.mask_token_rate,
            "random_token_rate": self.random_token_rate,
            "seed": self.seed,
        }


def content_ids(ids: NDArray, present: NDArray[np.bool_]) -> NDArray[np.uint64]:
    """A 64-bit number for the token ids of each row [N, L], whatever the padding. uint64[N]."""
    scrambled = scramble(np.arange(ids.shape[1]))
    terms = fold_scrambled(ids.astype(np.uint64), scrambled).reshape(ids.shape)
    terms *= present
    return fold(terms.sum(axis=1, dtype=np.uint64), present.sum(axis=1))


def _padded(values: NDArray, lengths: NDArray[np.int64]) -> NDArray:
    """Rows of the given lengths, one after the other in ``values``, as [N, longest]."""
    present = np.arange(lengths.max(initial=0)) < lengths[:, None]
    rows = np.zeros(present.shape, values.dtype)
    rows[present] = values
    return rows


def _unpadded(array: NDArray, lengths: NDArray[np.int64]) -> Any:
    """The rows without padding: an array where they are equally long, else a list of lists."""
    if len(lengths) and (lengths == lengths[0]).all():
        return array[:, : lengths[0]]
    return [row[:length].tolist() for row, length in zip(array, lengths, strict=True)]
