"""Labelled examples for fine-tuning and evaluating, from raw texts or from an encoded dataset.

Examples stand in the order of their content, so that what is learned depends neither on the order of
files and lines nor on whether they were encoded before; and the part to validate with is chosen by
content, near-duplicates on one side.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines import files
from pipelines.documents.labelled import Fields, LabelledTexts, as_class_name, read_labelled
from pipelines.documents.near_duplicates import group_signatures, sign_token_rows
from pipelines.errors import UserError
from pipelines.keyed_random import fold, purpose_key, uniform
from pipelines.records.ragged import Ragged, offsets_of
from trainer.finetuning.cached_examples import check_cached, find_cached, read_cached
from trainer.finetuning.encoded import EncodedTexts, encode_texts
from trainer.finetuning.labels import Labelled
from trainer.finetuning.task import fingerprints

TRAIN, VALIDATION = "train", "validation"


@dataclass(frozen=True)
class Examples:
    """n encoded examples with their ids uint64[n], labels as found, and where each came from.

    ``texts`` are the raw texts, if they were read; ``dropped`` counts examples without any text.
    """

    encoded: EncodedTexts
    ids: NDArray[np.uint64]
    labels: list[Any]
    places: list[str]
    texts: LabelledTexts | None
    dropped: int = 0

    def __len__(self) -> int:
        return len(self.ids)

    def select(self, rows: NDArray[np.int64]) -> Examples:
        """The examples with the given indices, in that order."""
        return Examples(
            self.encoded.select(rows),
            self.ids[rows],
            [self.labels[i] for i in rows],
            [self.places[i] for i in rows],
            None if self.texts is None else self.texts.select(rows),
            self.dropped,
        )


def read_examples(
    patterns: Sequence[str],
    fields: Fields,
    preprocessor: Any,
    flag: str,
    *,
    split: str = TRAIN,
    drop_empty: bool = False,
    check: Callable[[Labelled], Any] | None = None,
) -> Examples:
    """Reads labelled texts, or the encoded dataset that ``patterns`` names, in content order.

    ``split`` is what to take of a dataset that has both. ``preprocessor`` encodes texts; for a dataset
    it must have the dataset's length and be what the dataset was made with. ``check`` looks at the
    labels while they stand in their files' order, so that it finds the first bad one.
    """
    cached = find_cached(patterns, flag)
    if cached is not None:
        folder, manifest = cached
        check_cached(folder, manifest, preprocessor, None, flag)
        if preprocessor.sequence_length < manifest.facts["seq_length"]:
            raise UserError(
                f"--{flag}: {folder} was made with seq_length {manifest.facts['seq_length']}, longer "
                f"than the {preprocessor.sequence_length} in use; tokenize again with that"
            )
        part = split if split in manifest.splits else TRAIN
        rows = read_cached(folder, manifest, part, flag)
        places = [f"{folder}: {part} example {i + 1}" for i in range(len(rows.ids))]
        found = Examples(rows.encoded, rows.ids, list(rows.labels), places, None)
    else:
        data = read_labelled(
            patterns,
            text_field=fields.text_field,
            text_pair_field=fields.text_pair_field,
            label_field=fields.label_field,
            flag=flag,
        )
        empty = data.empty() if drop_empty else []
        if empty and len(empty) == len(data):
            raise UserError(f"--{flag}: all texts are empty; check --text_field and the files")
        data = data.select(np.setdiff1d(np.arange(len(data)), empty))
        encoded = encode_texts(preprocessor, data)
        labels = list(data.labels or [])
        found = Examples(encoded, data.ids(), labels, data.places, data, len(empty))
    if check is not None:
        check(found)
    names = np.array([as_class_name(label) for label in found.labels])
    return found.select(np.lexsort((names, found.ids)))


def fingerprint_examples(patterns: Sequence[str], flag: str) -> list[Any]:
    """What identifies the examples that ``patterns`` name."""
    cached = find_cached(patterns, flag)
    if cached is not None:
        return ["dataset", cached[1].fingerprint]
    return fingerprints(files.match(patterns, flag))


def split_off(examples: Examples, fraction: float, seed: int) -> tuple[Examples, Examples]:
    """(training, validation): a part chosen by content; texts nearly the same stay on one side.

    Raises UserError if one of them is empty.
    """
    encoded = examples.encoded
    present = np.arange(encoded.token_ids.shape[1]) < encoded.lengths[:, None]
    rows = Ragged(encoded.token_ids[present], offsets_of(encoded.lengths))
    group = group_signatures(sign_token_rows(rows))
    # Examples stand in the order of their ids: the first of a group has the smallest.
    keys = examples.ids[group]
    chosen = uniform(fold(purpose_key(seed, "fine-tuning validation"), keys)) < fraction
    if chosen.all() or not chosen.any():
        raise UserError(
            f"--validation_fraction {fraction}: leaves training or validation without examples "
            f"({len(examples):,} in all); name files with --validation"
        )
    return examples.select(np.flatnonzero(~chosen)), examples.select(np.flatnonzero(chosen))
