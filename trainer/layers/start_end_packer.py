"""Puts start and end values around a sequence and pads it (KerasNLP's ``StartEndPacker``)."""

from __future__ import annotations

from typing import Any

import keras

from trainer.layers.packer import Packer


@keras.saving.register_keras_serializable(package="bertmill")
class StartEndPacker(Packer):
    """Cuts sequences, puts values around them and pads them to one length.

    Args:
        sequence_length: length of the output.
        start_value, end_value: id(s) or token(s) before and after; None for none.
        pad_value: id or token of unused positions; 0 or "" where None.
        return_padding_mask: also give bool of the same shape, False for padding.
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
        super().__init__(
            sequence_length, start_value, end_value, pad_value, padding_side, name=name, **kwargs
        )
        self.return_padding_mask = return_padding_mask

    def outputs(self, values: Any, segment_ids: Any, padding_mask: Any) -> Any:
        """The values, and the mask if asked."""
        return (values, padding_mask) if self.return_padding_mask else values
