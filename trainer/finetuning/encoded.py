"""Texts encoded once up front, and batches of few different lengths made of them.

A batch holds texts of similar length and is padded to one of eight lengths: short texts cost little,
and few shapes are compiled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.command.progress import track
from pipelines.documents.labelled import LabelledText
from pipelines.errors import UserError
from pipelines.records.ragged import Ragged, offsets_of
from trainer.finetuning.windows import MOST_WINDOWS, keep_ends, lay_out
from trainer.layers.trim_segments import trimmed_lengths

# Each is compiled once. Reviews of 3 to 512 tokens then hold 14 % padding (with twice as many, 9 %).
_BUCKETS = 8


@dataclass(frozen=True)
class EncodedTexts:
    """n texts, or pairs of texts, as token ids.

    ``tokens`` has a list for each: [CLS] first [SEP], or [CLS] first [SEP] second [SEP], of at most
    ``seq_length`` ids. ``first_lengths`` int64[n] says how many of them are [CLS] first [SEP];
    ``cut`` bool[n] which texts were too long and lost their end. With ``in_windows`` texts are longer:
    ``seq_length`` is that of a window, and those that were cut lost their middle.
    """

    tokens: Ragged
    first_lengths: NDArray[np.int64]
    cut: NDArray[np.bool_]
    seq_length: int
    pad_id: int
    in_windows: bool = False

    @property
    def truncated(self) -> int:
        """How many texts were too long."""
        return int(self.cut.sum())

    def __len__(self) -> int:
        return len(self.tokens)

    def select(self, rows: NDArray[np.int64]) -> EncodedTexts:
        """The texts with the given indices, in that order."""
        return replace(
            self,
            tokens=self.tokens.take(rows),
            first_lengths=self.first_lengths[rows],
            cut=self.cut[rows],
        )

    def batch(self, rows: NDArray[np.int64], size: int) -> dict[str, NDArray[Any]]:
        """The model's inputs [size, length] for up to ``size`` texts, filled up with the first.

        ``length`` is the shortest of ``bucket_lengths`` that holds them all. Of texts in windows:
        see ``lay_out``.
        """
        rows = np.concatenate([rows, np.repeat(rows[:1], size - len(rows))])
        tokens = self.tokens.take(rows)
        if self.in_windows:
            return lay_out(tokens, size, self.seq_length, self.pad_id)
        longest = int(tokens.lengths.max())
        length = next(n for n in bucket_lengths(self.seq_length) if n >= longest)
        positions = np.arange(length)
        padding_mask = positions < tokens.lengths[:, None]
        token_ids = np.full((size, length), self.pad_id, np.int32)
        token_ids[padding_mask] = tokens.values
        in_second = padding_mask & (positions >= self.first_lengths[rows, None])
        return {
            "token_ids": token_ids,
            "segment_ids": in_second.astype(np.int32),
            "padding_mask": padding_mask,
        }


def bucket_lengths(seq_length: int) -> list[int]:
    """The lengths that batches may have: up to eight, evenly spaced, all but the last of eights.

    >>> bucket_lengths(200)
    [32, 64, 96, 128, 160, 192, 200]
    """
    step = 8 * -(-seq_length // (8 * _BUCKETS))
    return [*range(step, seq_length, step), seq_length]


def encode_texts(
    preprocessor: Any, data: Sequence[LabelledText], *, in_windows: bool = False
) -> EncodedTexts:
    """Encodes all texts as the preprocessor does, cut to its ``sequence_length`` or, ``in_windows``,
    to so many tokens in each of at most ``MOST_WINDOWS``."""
    tokenizer, seq_length = preprocessor.tokenizer, preprocessor.sequence_length
    start, end = tokenizer.start_token_id, tokenizer.end_token_id
    segments = [tokenizer.tokenize_texts([example.text for example in data])]
    if not in_windows and data[0].pair is not None:
        segments.append(tokenizer.tokenize_texts([example.pair for example in data]))
    lengths = _segment_lengths(segments)
    if in_windows:
        segments = [[keep_ends(text, seq_length) for text in segments[0]]]
        kept = _segment_lengths(segments)
    else:
        kept = trimmed_lengths(lengths, seq_length - 1 - len(segments), preprocessor.truncate)
    ids = (
        chain([start], *((*text[:room], end) for text, room in zip(texts, rooms, strict=True)))
        for texts, rooms in zip(zip(*segments, strict=True), kept.tolist(), strict=True)
    )
    return EncodedTexts(
        Ragged(
            np.fromiter(chain.from_iterable(ids), np.int32),
            offsets_of((kept + 1).sum(axis=1) + 1),
        ),
        kept[:, 0] + 2,
        kept.sum(axis=1) < lengths.sum(axis=1),
        seq_length,
        tokenizer.pad_token_id,
        in_windows,
    )


def _segment_lengths(segments: Sequence[Sequence[Sequence[int]]]) -> NDArray[np.int64]:
    """int64[rows, segments]."""
    return np.array([[len(ids) for ids in segment] for segment in segments], np.int64).T


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
    """The model's outputs float32[n, classes]: logits, or the number of a regression.

    Raises UserError where they are not finite numbers.
    """
    order = np.arange(len(encoded))
    outputs = np.zeros((len(encoded), 0), np.float32)
    batches = batches_by_length(encoded.tokens.lengths, order, batch_size, pool=len(order))
    # Short and long ones mixed, so that the time left is not that of the short ones.
    mixed = [batches[i] for i in np.random.default_rng(0).permutation(len(batches))]
    for rows in track(mixed, "predicting", "batches"):
        found = model.predict_on_batch(encoded.batch(rows, batch_size))[: len(rows)]
        if not outputs.size:
            outputs = np.zeros((len(encoded), found.shape[1]), np.float32)
        outputs[rows] = found
    wrong = int((~np.isfinite(outputs).all(axis=1)).sum())
    if wrong:
        raise UserError(
            f"the model gives NaN or infinity for {wrong:,} of {len(outputs):,} texts: its weights are "
            "damaged or its training diverged; use another preset"
        )
    return outputs


def describe_truncation(encoded: EncodedTexts) -> str:
    """A clause for the line about the texts; empty where all fit."""
    if not encoded.truncated:
        return ""
    count, share = encoded.truncated, encoded.truncated / len(encoded)
    if encoded.in_windows:
        return f"; {count:,} ({share:.1%}) longer than {MOST_WINDOWS} windows lose their middle"
    return f"; {count:,} ({share:.1%}) longer than {encoded.seq_length} tokens lose their end"
