"""What the two packers share: special values, and any container of ids or tokens around the core."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.layers.constructor_arguments import ConstructorArguments
from trainer.layers.join_segments import join_segments
from trainer.layers.preprocessing_layer import PreprocessingLayer, map_rows


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
        """``join_segments`` on the rows of each segment, with this layer's special values."""
        return join_segments(
            segments,
            length=length or self.sequence_length,
            start=self.start_value if add_start_value else [],
            separator=self.sep_value,
            end=self.end_value if add_end_value else [],
            pad_value=self.pad_value,
            truncate=self.truncate,
            padding_side=self.padding_side,
        )

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
