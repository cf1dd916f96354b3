"""Joins segments into one row of fixed length: [CLS] first [SEP] second [SEP] [PAD] …

Arguments and results are KerasNLP's ``MultiSegmentPacker``.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from trainer.layers.join_segments import join_segments, special_values
from trainer.layers.preprocessing_layer import PreprocessingLayer, map_sequences
from trainer.layers.trim_segments import TRUNCATIONS


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

        def pack(rows: list[list[list[Any]]]) -> tuple[NDArray, NDArray]:
            values, owners = join_segments(
                rows,
                length=length,
                start=self.start_value if add_start_value else [],
                separator=self.sep_value,
                end=self.end_value if add_end_value else [],
                pad_value=self.pad_value,
                truncate=self.truncate,
                padding_side=self.padding_side,
            )
            return values, np.maximum(owners, 0)

        return map_sequences(pack, segments, length, "int32")

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
