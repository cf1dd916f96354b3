"""What the two packers share: special values, and segments joined into rows of one length.

Shapes: R rows of length L.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.layers.constructor_arguments import ConstructorArguments
from trainer.layers.preprocessing_layer import PreprocessingLayer, map_rows
from trainer.layers.trim_segments import trimmed_lengths


class Packer(ConstructorArguments, PreprocessingLayer):
    """Base class; a subclass picks its ``outputs`` from what ``join`` gives."""

    truncate = "waterfall"

    def __init__(
        self,
        sequence_length: int,
        start_value: Any,
        end_value: Any,
        pad_value: Any,
        padding_side: str,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.sequence_length = sequence_length
        self.pad_value = pad_value
        self.padding_side = padding_side
        self._arguments = {"start_value": start_value, "end_value": end_value}
        self.start_value = special_values(start_value, "start_value")
        self.end_value = special_values(end_value, "end_value")
        self.sep_value: list[Any] = []

    def call(
        self,
        inputs: Any,
        sequence_length: int | None = None,
        add_start_value: bool = True,
        add_end_value: bool = True,
    ) -> Any:
        """Packs ids or tokens.

        Args:
            inputs: a list, array or ragged tensor of rank 1 or 2 (or, where a packer joins
                segments, a tuple of them).
            sequence_length: overrides the layer's.
            add_start_value, add_end_value: False to leave them out.

        Returns:
            Arrays [batch, sequence_length] or [sequence_length]: int32 of ids; of tokens, lists of
            str in the place of arrays.
        """
        segments = self.segments(inputs)
        length = sequence_length or self.sequence_length

        def join(*rows: Any) -> Any:
            return self.join(rows, length, add_start_value, add_end_value)

        values = "string" if getattr(segments[0], "dtype", None) == "string" else "int32"
        outputs = [(dtype, (None, length)) for dtype in (values, "int32", "bool")]
        return self.outputs(*map_rows(join, segments, outputs))

    def join(
        self,
        segments: Sequence[Any],
        length: int | None = None,
        add_start_value: bool = True,
        add_end_value: bool = True,
    ) -> tuple[NDArray, NDArray[np.int32], NDArray[np.bool_]]:
        """Rows of the start value, the segments with the separator between them, the end value and
        padding; what is too long is trimmed by the rule ``truncate`` (see ``trim_segments``).

        Args:
            segments: the rows of the first segment, of the second, …: sequences of ids or of tokens.
            length: L, if not the layer's.
            add_start_value, add_end_value: False to leave them out.

        Returns:
            Values int32 or str [R, L]; the number of each value's segment, int32[R, L], 0 for padding;
            and bool[R, L], False for padding. A special value belongs to the segment before it.
        """
        length = length or self.sequence_length
        start = self.start_value if add_start_value else []
        end = self.end_value if add_end_value else []
        specials = len(start) + len(end) + len(self.sep_value) * (len(segments) - 1)
        lengths = np.array([[len(row) for row in segment] for segment in segments], np.int64).T
        kept = trimmed_lengths(lengths, length - specials, self.truncate)
        rows: list[list[Any]] = []
        owners: list[list[int]] = []
        for texts, rooms in zip(zip(*segments, strict=True), kept.tolist(), strict=True):
            row, owner = list(start), [0] * len(start)
            for number, (text, room) in enumerate(zip(texts, rooms, strict=True)):
                is_last = number == len(segments) - 1
                row += [*text[:room], *(end if is_last else self.sep_value)]
                owner += [number] * (len(row) - len(owner))
            rows.append(row[:length])
            owners.append(owner[:length])
        padding_mask = _padding_mask([len(row) for row in rows], length, self.padding_side)
        segment_ids = np.zeros(padding_mask.shape, np.int32)
        segment_ids[padding_mask] = list(chain.from_iterable(owners))
        values = _fill(padding_mask, list(chain.from_iterable(rows)), self.pad_value)
        return values, segment_ids, padding_mask

    def segments(self, inputs: Any) -> tuple[Any, ...]:
        """The segments of a row that ``inputs`` are."""
        return (inputs,)

    def outputs(self, values: Any, segment_ids: Any, padding_mask: Any) -> Any:
        """What this packer gives of the three."""
        raise NotImplementedError

    def compute_output_shape(self, inputs_shape: Any) -> Any:
        shape = (*inputs_shape[:-1], self.sequence_length)
        return self.outputs(shape, shape, shape)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | self._arguments


def special_values(value: Any, name: str) -> list[Any]:
    """One id or token, or several, or None, as a list; ValueError for anything else."""
    if value is None:
        return []
    values = list(value) if isinstance(value, (list, tuple)) else [value]
    for each in values:
        if not isinstance(each, (int, np.integer, str, bytes)):
            raise ValueError(f"{name} must be an id or token or several of them, not {value!r}")
    return values


def _padding_mask(lengths: list[int], length: int, padding_side: str) -> NDArray[np.bool_]:
    if padding_side not in ("left", "right"):
        raise ValueError(f"padding_side must be 'left' or 'right', not {padding_side!r}")
    mask = np.arange(length) < np.array(lengths, np.int64)[:, None]
    return mask if padding_side == "right" else mask[:, ::-1]


def _fill(mask: NDArray[np.bool_], values: list[Any], pad_value: Any) -> NDArray:
    """The values where the mask is True, row by row, and the pad value elsewhere."""
    is_text = any(isinstance(value, (str, bytes)) for value in (*values[:1], pad_value))
    if pad_value is None:
        pad_value = "" if is_text else 0
    array = np.full(mask.shape, pad_value, object if is_text else np.int32)
    array[mask] = [value.decode() if isinstance(value, bytes) else value for value in values]
    return array.astype(np.str_) if is_text else array
