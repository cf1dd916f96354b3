"""Puts start and end values around a sequence and pads it (KerasNLP's ``StartEndPacker``)."""

from __future__ import annotations

from typing import Any

import keras
from numpy.typing import NDArray

from trainer.layers.join_segments import join_segments, special_values
from trainer.layers.preprocessing_layer import PreprocessingLayer, map_sequences


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

        def pack(rows: list[list[list[Any]]]) -> tuple[NDArray, NDArray]:
            values, owners = join_segments(
                rows,
                length=length,
                start=self.start_value if add_start_value else [],
                separator=[],
                end=self.end_value if add_end_value else [],
                pad_value=self.pad_value,
                truncate="waterfall",
                padding_side=self.padding_side,
            )
            return values, owners >= 0

        packed, mask = map_sequences(pack, (inputs,), length, "bool")
        return (packed, mask) if self.return_padding_mask else packed

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
