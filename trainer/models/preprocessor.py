"""What the text preprocessors share: tokenize, join segments into rows, give a model's inputs.

Input ``x`` is a string, a batch of strings, or a tuple of such segments to join; ``y`` and
``sample_weight`` pass through. The work is numpy; in ``tf.data`` it runs inside the graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from numpy.typing import NDArray

from trainer.layers.constructor_arguments import ConstructorArguments
from trainer.layers.multi_segment_packer import MultiSegmentPacker
from trainer.layers.preprocessing_layer import PreprocessingLayer, Text, map_rows
from trainer.models.bert_backbone import BertBackbone
from trainer.presets.builtin import BUILTIN_PRESETS
from trainer.tokenizers.bert_tokenizer import BertTokenizer


class Preprocessor(ConstructorArguments, PreprocessingLayer):
    """Base class of BERT's preprocessors; ``from_preset`` infers the class from the preset.

    Args:
        tokenizer: a ``BertTokenizer``.
        sequence_length: length of a row.
        truncate: how long inputs share a row, "round_robin" or "waterfall".
    """

    presets = BUILTIN_PRESETS
    backbone_cls = BertBackbone
    tokenizer_cls = BertTokenizer

    def __init__(
        self,
        tokenizer: BertTokenizer,
        sequence_length: int = 512,
        truncate: str = "round_robin",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.tokenizer = tokenizer
        self.sequence_length = sequence_length
        self.truncate = truncate

    @property
    def packer(self) -> MultiSegmentPacker:
        """A packer with this preprocessor's length and special tokens."""
        return MultiSegmentPacker(
            sequence_length=self.sequence_length,
            start_value=self.tokenizer.start_token_id,
            end_value=self.tokenizer.end_token_id,
            pad_value=self.tokenizer.pad_token_id,
            truncate=self.truncate,
        )

    def prepare(self, segments: Sequence[list[Text]]) -> dict[str, NDArray]:
        """A batch of rows from the batches of their first, second, … segments."""
        rows = [self.tokenizer.tokenize_texts(texts) for texts in segments]
        token_ids, segment_ids, _ = self.packer.join(rows)
        return {
            "token_ids": token_ids,
            "padding_mask": token_ids != self.tokenizer.pad_token_id,
            "segment_ids": segment_ids,
        }

    def finish(self, columns: dict[str, Any], y: Any, sample_weight: Any) -> Any:
        """Model inputs, labels and weights from the columns and what the user passed."""
        return keras.utils.pack_x_y_sample_weight(columns, y, sample_weight)

    def call(self, x: Any, y: Any = None, sample_weight: Any = None) -> Any:
        """Prepares a string or a batch.

        Returns:
            A dict of numpy arrays [batch, sequence_length] (without the batch for one string) or,
            in ``tf.data``, of tensors; with ``y`` (and ``sample_weight``) the tuple Keras expects.
        """
        segments = x if isinstance(x, tuple) else (x,)
        empty = self.prepare([[] for _ in segments])

        def prepare(*texts: list[Text]) -> list[NDArray]:
            return list(self.prepare(texts).values())

        outputs = [(array.dtype.name, (None, *array.shape[1:])) for array in empty.values()]
        columns = map_rows(prepare, segments, outputs, texts=True)
        return self.finish(dict(zip(empty, columns, strict=True)), y, sample_weight)

    @classmethod
    def from_preset(cls, preset: str, **kwargs: Any) -> Any:
        """Loads a preprocessor from a built-in name, ``kaggle://``, ``hf://`` or a directory.

        ``kwargs`` override what is saved, such as ``sequence_length``. Where the preset holds the
        preprocessor of another task, its tokenizer is used with this class's defaults.

        Raises:
            UserError: unknown name or missing file.
        """
        from trainer.presets.load import load_preprocessor

        return load_preprocessor(cls, preset, **kwargs)

    def save_to_preset(self, preset_dir: str) -> None:
        """Writes ``preprocessor.json`` and the tokenizer's files into ``preset_dir``."""
        from trainer.presets.save import save_preprocessor

        save_preprocessor(self, preset_dir)
