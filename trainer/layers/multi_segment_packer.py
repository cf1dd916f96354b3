"""Joins segments into one row of fixed length: [CLS] first [SEP] second [SEP] [PAD] …

Arguments and results are KerasNLP's ``MultiSegmentPacker``.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from trainer.layers.preprocessing_layer import (
    PreprocessingLayer,
    call_in_graph,
    ragged_in_graph,
    sequences_of,
    tracing_tensorflow,
)
from trainer.layers.trim_segments import TRUNCATIONS, trimmed_lengths


@keras.saving.register_keras_serializable(package="bertmill")
class MultiSegmentPacker(PreprocessingLayer):
    """Packs a tuple of segments (or batches of them) into ``(token_ids, segment_ids)``.

    Args:
        sequence_length: length of a row.
        start_value: id(s) or token(s) before the first segment.
        end_value: id(s) or token(s) after the last segment.
        sep_value: id(s) or token(s) between segments; ``end_value`` where None.
        pad_value: id or token of unused places; 0 or "" where None.
        truncate: "round_robin" or "waterfall", see ``trim_segments``.
        padding_side: "right" or "left".
    """

    def __init__(
        self,
        sequence_length: int,
        start_value: Any,
        end_value: Any,
        sep_value: Any = None,
        pad_value: Any = None,
        truncate: str = "round_robin",
        padding_side: str = "right",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if truncate not in TRUNCATIONS:
            raise ValueError(f"truncate must be one of {', '.join(TRUNCATIONS)}, not {truncate!r}")
        self.sequence_length = sequence_length
        self.truncate = truncate
        self.pad_value = pad_value
        self.padding_side = padding_side
        self._values = {"start_value": start_value, "end_value": end_value, "sep_value": sep_value}
        self.start_value = special_values(start_value)
        self.end_value = special_values(end_value)
        self.sep_value = self.end_value if sep_value is None else special_values(sep_value)

    def call(
        self,
        inputs: Any,
        sequence_length: int | None = None,
        add_start_value: bool = True,
        add_end_value: bool = True,
    ) -> tuple[Any, Any]:
        """Packs ids or tokens.

        Args:
            inputs: a tuple of segments, each a list, array or ragged tensor of rank 1 or 2; a list
                or array alone is one segment.
            sequence_length: overrides the layer's.
            add_start_value, add_end_value: False to leave them out.

        Returns:
            token_ids and segment_ids (0, 1, … for the segment each token is from), both int32
            [batch, sequence_length] or [sequence_length]. Tokens instead of ids stay strings.
        """
        segments = inputs if isinstance(inputs, tuple) else (inputs,)
        if not segments:
            raise ValueError("MultiSegmentPacker needs at least one segment, not an empty tuple")
        length = sequence_length or self.sequence_length
        start = self.start_value if add_start_value else []
        end = self.end_value if add_end_value else []
        if tracing_tensorflow():
            return self._call_in_graph(segments, length, start, end)
        pairs = [sequences_of(segment) for segment in segments]
        if len({batched for _, batched in pairs}) != 1:
            raise ValueError("all segments must have the same rank")
        tokens, ids = self._pack([rows for rows, _ in pairs], length, start, end)
        return (tokens, ids) if pairs[0][1] else (tokens[0], ids[0])

    def _call_in_graph(self, segments: Any, length: int, start: Any, end: Any) -> tuple[Any, Any]:
        import tensorflow as tf

        pairs = [ragged_in_graph(segment) for segment in segments]
        batched = pairs[0][1]
        flat = [part for ragged, _ in pairs for part in (ragged.flat_values, ragged.row_splits)]
        text = pairs[0][0].dtype == tf.string

        def pack(*arrays: NDArray) -> tuple[NDArray, NDArray]:
            rows = [
                [part.tolist() for part in np.split(values, splits[1:-1])]
                for values, splits in zip(arrays[::2], arrays[1::2], strict=True)
            ]
            tokens, ids = self._pack(rows, length, start, end)
            return (tokens.astype(object) if text else tokens), ids

        shape = (None, length)
        outputs = [("string" if text else "int32", shape), ("int32", shape)]
        tokens, ids = call_in_graph(pack, flat, outputs)
        return (tokens, ids) if batched else (tokens[0], ids[0])

    def _pack(
        self, segments: list[list[list[Any]]], length: int, start: list[Any], end: list[Any]
    ) -> tuple[NDArray, NDArray[np.int32]]:
        rows = len(segments[0])
        specials = len(start) + len(end) + len(self.sep_value) * (len(segments) - 1)
        lengths = np.array([[len(row) for row in segment] for segment in segments], np.int64)
        lengths = lengths.reshape(len(segments), rows).T
        kept = trimmed_lengths(lengths, length - specials, self.truncate)
        packed: list[list[Any]] = []
        packed_ids: list[list[int]] = []
        for r in range(rows):
            row, ids = list(start), [0] * len(start)
            for s, segment in enumerate(segments):
                after = end if s == len(segments) - 1 else self.sep_value
                part = [*segment[r][: kept[r, s]], *after]
                row += part
                ids += [s] * len(part)
            packed.append(row[:length])
            packed_ids.append(ids[:length])
        tokens = padded(packed, length, self.pad_value, self.padding_side)
        return tokens, padded(packed_ids, length, 0, self.padding_side)

    def get_config(self) -> dict[str, Any]:
        return (
            super().get_config()
            | self._values
            | {
                "sequence_length": self.sequence_length,
                "pad_value": self.pad_value,
                "truncate": self.truncate,
                "padding_side": self.padding_side,
            }
        )

    def compute_output_shape(self, inputs_shape: Any) -> Any:
        shape = (*inputs_shape[:-1], self.sequence_length)
        return shape, shape


def special_values(value: Any) -> list[Any]:
    """One id or token, or several, or None, as a list."""
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]


def padded(rows: list[list[Any]], length: int, pad_value: Any, padding_side: str) -> NDArray:
    """Rows of at most ``length`` values as int32 or string [rows, length]."""
    if padding_side not in ("left", "right"):
        raise ValueError(f"padding_side must be 'left' or 'right', not {padding_side!r}")
    text = any(isinstance(value, (str, bytes)) for row in rows for value in row[:1])
    if pad_value is None:
        pad_value = "" if text else 0
    array = np.full((len(rows), length), pad_value, object if text else np.int32)
    for r, row in enumerate(rows):
        if padding_side == "right":
            array[r, : len(row)] = row
        else:
            array[r, length - len(row) :] = row
    if text:
        return np.array(
            [v.decode() if isinstance(v, bytes) else v for v in array.ravel()], np.str_
        ).reshape(array.shape)
    return array
