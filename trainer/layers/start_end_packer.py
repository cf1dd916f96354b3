"""Puts start and end values around a sequence and pads it (KerasNLP's ``StartEndPacker``)."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from trainer.layers.multi_segment_packer import padded, special_values
from trainer.layers.preprocessing_layer import (
    PreprocessingLayer,
    call_in_graph,
    ragged_in_graph,
    sequences_of,
    tracing_tensorflow,
)


@keras.saving.register_keras_serializable(package="bertmill")
class StartEndPacker(PreprocessingLayer):
    """Cuts, surrounds and pads sequences to one length.

    Args:
        sequence_length: length of the output.
        start_value, end_value: id(s) or token(s) before and after; None for none.
        pad_value: id or token of unused places; 0 or "" where None.
        return_padding_mask: also give bool of the same shape, True where there is a value.
        padding_side: "right" or "left".
    """

    def __init__(
        self,
        sequence_length: int,
        start_value: Any = None,
        end_value: Any = None,
        pad_value: Any = None,
        return_padding_mask: bool = False,
        name: str | None = None,
        padding_side: str = "right",
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, **kwargs)
        self.sequence_length = sequence_length
        self._values = {"start_value": start_value, "end_value": end_value}
        self.start_value = special_values(start_value)
        self.end_value = special_values(end_value)
        self.pad_value = pad_value
        self.return_padding_mask = return_padding_mask
        self.padding_side = padding_side

    def call(
        self,
        inputs: Any,
        sequence_length: int | None = None,
        add_start_value: bool = True,
        add_end_value: bool = True,
    ) -> Any:
        """Packs a sequence or a batch of them.

        Returns:
            int32 (or strings) [batch, sequence_length] or [sequence_length], and the mask if asked.
        """
        length = sequence_length or self.sequence_length
        start = self.start_value if add_start_value else []
        end = self.end_value if add_end_value else []
        if tracing_tensorflow():
            outputs, batched = self._call_in_graph(inputs, length, start, end)
        else:
            rows, batched = sequences_of(inputs)
            outputs = self._pack(rows, length, start, end)
        packed, mask = outputs if batched else (outputs[0][0], outputs[1][0])
        return (packed, mask) if self.return_padding_mask else packed

    def _call_in_graph(self, inputs: Any, length: int, start: Any, end: Any) -> tuple[Any, bool]:
        import tensorflow as tf

        ragged, batched = ragged_in_graph(inputs)
        text = ragged.dtype == tf.string

        def pack(values: NDArray, splits: NDArray) -> tuple[NDArray, NDArray]:
            rows = [part.tolist() for part in np.split(values, splits[1:-1])]
            packed, mask = self._pack(rows, length, start, end)
            return (packed.astype(object) if text else packed), mask

        shape = (None, length)
        outputs = [("string" if text else "int32", shape), ("bool", shape)]
        return call_in_graph(pack, [ragged.flat_values, ragged.row_splits], outputs), batched

    def _pack(
        self, rows: list[list[Any]], length: int, start: list[Any], end: list[Any]
    ) -> tuple[NDArray, NDArray[np.bool_]]:
        room = max(length - len(start) - len(end), 0)
        packed = [[*start, *row[:room], *end][:length] for row in rows]
        mask = padded([[1] * len(row) for row in packed], length, 0, self.padding_side)
        return padded(packed, length, self.pad_value, self.padding_side), mask.astype(np.bool_)

    def get_config(self) -> dict[str, Any]:
        return (
            super().get_config()
            | self._values
            | {
                "sequence_length": self.sequence_length,
                "pad_value": self.pad_value,
                "return_padding_mask": self.return_padding_mask,
                "padding_side": self.padding_side,
            }
        )

    def compute_output_shape(self, inputs_shape: Any) -> Any:
        shape = (*inputs_shape[:-1], self.sequence_length)
        return (shape, shape) if self.return_padding_mask else shape
