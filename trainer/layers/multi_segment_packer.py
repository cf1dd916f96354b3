"""Joins segments into one row of fixed length: [CLS] first [SEP] second [SEP] [PAD] …

Arguments and results are KerasNLP's ``MultiSegmentPacker``.
"""

from __future__ import annotations

from typing import Any

import keras

from trainer.layers.packer import Packer, special_values
from trainer.layers.trim_segments import TRUNCATIONS


@keras.saving.register_keras_serializable(package="bertmill")
class MultiSegmentPacker(Packer):
    """Packs a tuple of segments (or batches of them) into ``(token_ids, segment_ids)``.

    Args:
        sequence_length: length of a row.
        start_value: id(s) or token(s) before the first segment.
        end_value: id(s) or token(s) after the last segment.
        sep_value: id(s) or token(s) between segments; ``end_value`` where None.
        pad_value: id or token of unused positions; 0 or "" where None.
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
        super().__init__(sequence_length, start_value, end_value, pad_value, padding_side, **kwargs)
        if truncate not in TRUNCATIONS:
            raise ValueError(f"truncate must be one of {', '.join(TRUNCATIONS)}, not {truncate!r}")
        self.truncate = truncate
        self._arguments["sep_value"] = sep_value
        if sep_value is None:
            self.sep_value = self.end_value
        else:
            self.sep_value = special_values(sep_value, "sep_value")

    def segments(self, inputs: Any) -> tuple[Any, ...]:
        """A tuple of segments, or one."""
        segments = inputs if isinstance(inputs, tuple) else (inputs,)
        if not segments:
            raise ValueError("MultiSegmentPacker needs at least one segment, not an empty tuple")
        return segments

    def outputs(self, values: Any, segment_ids: Any, padding_mask: Any) -> tuple[Any, Any]:
        """token_ids and segment_ids: 0, 1, … for the segment each token is from."""
        return values, segment_ids
