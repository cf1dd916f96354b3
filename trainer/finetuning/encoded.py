"""Texts encoded once up front, and batches of few different lengths made of them.

So that short texts cost little and few shapes are compiled, batches hold texts of like length and
have one of eight lengths.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from pipelines.documents.labelled import LabelledTexts

# Each is compiled once. Reviews of 3 to 512 tokens then hold 14 % padding (with twice as many, 9 %).
_BUCKETS = 8


@dataclass(frozen=True)
class EncodedTexts:
    """n texts as the inputs of the model.

    ``token_ids`` and ``segment_ids`` int32[n, seq_length], padded; ``lengths`` int64[n] with the
    special tokens; ``cut`` bool[n]: which texts were longer and have lost their end.
    """

    token_ids: NDArray[np.int32]
    segment_ids: NDArray[np.int32]
    lengths: NDArray[np.int64]
    cut: NDArray[np.bool_]

    @property
    def truncated(self) -> int:
        """How many texts have lost their end."""
        return int(self.cut.sum())

    def select(self, rows: NDArray[np.int64]) -> EncodedTexts:
        """The texts with the given indices, in that order."""
        return EncodedTexts(
            self.token_ids[rows], self.segment_ids[rows], self.lengths[rows], self.cut[rows]
        )

    def __len__(self) -> int:
        return len(self.lengths)

    def batch(self, rows: NDArray[np.int64], size: int) -> dict[str, NDArray[Any]]:
        """The model's inputs [size, length] for up to ``size`` texts, filled up with the first.

        ``length`` is the shortest of ``bucket_lengths`` that holds them all.
        """
        length = int(self.lengths[rows].max())
        length = next(n for n in bucket_lengths(self.token_ids.shape[1]) if n >= length)
        rows = np.concatenate([rows, np.repeat(rows[:1], size - len(rows))])
        return {
            "token_ids": self.token_ids[rows, :length],
            "segment_ids": self.segment_ids[rows, :length],
            "padding_mask": np.arange(length) < self.lengths[rows, None],
        }


def bucket_lengths(seq_length: int) -> list[int]:
    """The lengths that batches may have: up to eight, evenly spaced, all but the last of eights.

    >>> bucket_lengths(200)
    [32, 64, 96, 128, 160, 192, 200]
    """
    step = 8 * -(-seq_length // (8 * _BUCKETS))
    return [*range(step, seq_length, step), seq_length]


def encode_texts(preprocessor: Any, data: LabelledTexts) -> EncodedTexts:
    """Tokenizes and packs all texts, cut to the preprocessor's ``sequence_length``."""
    from trainer.layers.multi_segment_packer import MultiSegmentPacker

    tokenizer, seq_length = preprocessor.tokenizer, preprocessor.sequence_length
    segments = [tokenizer.tokenize_texts(data.texts)]
    if data.pairs is not None:
        segments.append(tokenizer.tokenize_texts(data.pairs))
    packer = MultiSegmentPacker(
        sequence_length=seq_length,
        start_value=tokenizer.start_token_id,
        end_value=tokenizer.end_token_id,
        pad_value=tokenizer.pad_token_id,
        truncate=preprocessor.truncate,
        name="packer",  # Without one Keras would count on, and saved files name layers.
    )
    token_ids, segment_ids = packer(tuple(segments))
    whole = np.sum([[len(ids) + 1 for ids in segment] for segment in segments], axis=0) + 1
    return EncodedTexts(
        np.asarray(token_ids, np.int32),
        np.asarray(segment_ids, np.int32),
        np.minimum(whole, seq_length),
        whole > seq_length,
    )


def batches_by_length(
    lengths: NDArray[np.int64], order: NDArray[np.int64], batch_size: int, pool: int
) -> list[NDArray[np.int64]]:
    """Cuts rows into batches: sorted by length within every ``pool`` batches of ``order``."""
    batches = []
    for start in range(0, len(order), batch_size * pool):
        rows = order[start : start + batch_size * pool]
        rows = rows[np.argsort(lengths[rows], kind="stable")]
        batches += [rows[i : i + batch_size] for i in range(0, len(rows), batch_size)]
    return batches


def run_model(model: Any, encoded: EncodedTexts, batch_size: int) -> NDArray[np.float32]:
    """The model's outputs float32[n, classes] (logits, or the number of a regression).

    ``model`` is a ``BertTextClassifier`` or its ``first_token_model``.
    """
    order = np.arange(len(encoded))
    outputs = np.zeros((len(encoded), model.output_shape[-1]), np.float32)
    batches = batches_by_length(encoded.lengths, order, batch_size, pool=len(order))
    for rows in tqdm(batches, desc="predicting", leave=False, disable=None):
        outputs[rows] = model.predict_on_batch(encoded.batch(rows, batch_size))[: len(rows)]
    return outputs


def describe_truncation(encoded: EncodedTexts) -> str:
    """A clause for people, or nothing."""
    if not encoded.truncated:
        return ""
    share, longest = encoded.truncated / len(encoded), encoded.token_ids.shape[1]
    return f"; {encoded.truncated:,} ({share:.1%}) longer than {longest} tokens lose their end"
