"""Labelled examples for fine-tuning and evaluating, from raw texts or from an encoded dataset.

Examples are sorted by their content, so that what is learned depends neither on the order of files
and lines nor on whether the texts were encoded before. The validation part is chosen by content too,
and near-duplicates stay together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.documents.bad_record import BadRecords
from pipelines.documents.labelled import Fields, LabelledText, as_class_name, read_labelled
from pipelines.errors import UserError
from pipelines.keyed_random import fold, purpose_key, uniform
from pipelines.records.manifest import read_split
from pipelines.records.ragged import concatenate
from pipelines.tokenize.token_tables import labels_of
from trainer.finetuning.encoded import EncodedTexts, encode_texts
from trainer.finetuning.labels import class_names, encode_labels
from trainer.finetuning.near_duplicates import group_signatures, sign_token_rows
from trainer.finetuning.source import Source

TRAIN, VALIDATION = "train", "validation"


@dataclass(frozen=True)
class Examples:
    """n encoded examples with their ids uint64[n] and labels: int64[n] indices of ``classes`` or,
    without classes, float32[n].

    ``texts`` are the raw texts, if they were read; ``dropped`` counts examples without any text.
    """

    encoded: EncodedTexts
    ids: NDArray[np.uint64]
    labels: NDArray[Any]
    classes: Sequence[str]
    texts: list[LabelledText] | None = None
    dropped: int = 0

    def __len__(self) -> int:
        return len(self.ids)

    def select(self, rows: NDArray[np.int64]) -> Examples:
        """The examples with the given indices, in that order."""
        return replace(
            self,
            encoded=self.encoded.select(rows),
            ids=self.ids[rows],
            labels=self.labels[rows],
            texts=None if self.texts is None else [self.texts[i] for i in rows],
        )


def read_examples(
    source: Source,
    fields: Fields,
    preprocessor: Any,
    classes: Sequence[str] | None,
    *,
    split: str = TRAIN,
    drop_empty: bool = False,
    bad: BadRecords | None = None,
    trained_on: str = "--train",
    in_windows: bool = False,
) -> Examples:
    """Reads labelled texts, or a dataset, in the order of their content.

    ``preprocessor`` encodes texts; a dataset has passed ``check_dataset`` with it. ``classes`` of the
    labels: empty for numbers; None: those that occur. ``split`` is what to take of a dataset that has
    both; ``bad`` gets the records of files that cannot be used. ``trained_on`` says where the classes
    come from; ``in_windows`` as for ``encode_texts``. Raises UserError for the first label, in the order
    of the files, that is not a class or no number.
    """
    texts, dropped = None, 0
    if source.dataset is None:
        texts, dropped = _read_texts(source, fields, drop_empty, bad)
        encoded = encode_texts(preprocessor, texts, in_windows=in_windows)
        ids = np.array([example.example_id() for example in texts], np.uint64)
        read = [example.label for example in texts]
        locations = [example.location for example in texts]
    elif in_windows:
        raise UserError(
            f"--{source.flag}: {source.folder} holds texts that are cut already; to read them in "
            "windows, name the files of texts"
        )
    else:
        encoded, ids, read, locations = _read_dataset(source, split, preprocessor.sequence_length)
    names = [as_class_name(label) for label in read]
    classes = class_names(names) if classes is None else classes
    labels = encode_labels(read, locations, classes, trained_on)
    examples = Examples(encoded, ids, labels, classes, texts, dropped)
    return examples.select(np.lexsort((np.array(names), ids)))


def _read_texts(
    source: Source, fields: Fields, drop_empty: bool, bad: BadRecords | None
) -> tuple[list[LabelledText], int]:
    """Labelled texts, and how many were dropped because they are empty."""
    read = read_labelled(source.names, fields, source.flag, bad)
    kept = [example for example in read if not (drop_empty and example.is_empty())]
    if not kept:
        raise UserError(f"--{source.flag}: all texts are empty; check --text_field and the files")
    return kept, len(read) - len(kept)


def _read_dataset(
    source: Source, split: str, longest: int
) -> tuple[EncodedTexts, NDArray[np.uint64], list[Any], list[str]]:
    """(encoded texts, ids, labels, locations) of a split, of at most ``longest`` tokens each.

    Raises UserError for a split without examples, or a damaged shard.
    """
    assert source.dataset is not None
    folder, facts = source.folder, source.dataset.facts
    if longest < facts["seq_length"]:
        raise UserError(
            f"--{source.flag}: {folder} was made with seq_length {facts['seq_length']}, longer than "
            f"the {longest} in use; tokenize again with that"
        )
    split = split if split in source.dataset.splits else TRAIN
    tables = list(read_split(folder, source.dataset, split))
    if not tables:
        raise UserError(f"--{source.flag}: {folder} holds no {split} examples; name another")
    columns = concatenate(tables)
    runs, owners = columns["segment_lengths"], columns["doc_ids"]
    encoded = EncodedTexts(
        columns["token_ids"],
        first_lengths=runs.values[runs.offsets[:-1]].astype(np.int64),
        cut=columns["tokens_cut"] > 0,
        seq_length=int(facts["seq_length"]),
        pad_id=facts["vocabulary"]["pad_id"],
    )
    locations = [f"{folder}: {split} example {i + 1}" for i in range(len(encoded))]
    return encoded, owners.values[owners.offsets[:-1]], labels_of(columns), locations


def split_off(examples: Examples, fraction: float, seed: int) -> tuple[Examples, Examples]:
    """(training, validation): a part chosen by content, near-duplicates together.

    Raises UserError if one of them is empty.
    """
    group = group_signatures(sign_token_rows(examples.encoded.tokens))
    # Examples are sorted by id: the first of a group has the smallest.
    keys = examples.ids[group]
    chosen = uniform(fold(purpose_key(seed, "fine-tuning validation"), keys)) < fraction
    if chosen.all() or not chosen.any():
        raise UserError(
            f"--validation_fraction {fraction}: leaves training or validation without examples "
            f"({len(examples):,} in all, {len(np.unique(group)):,} where near-duplicates count once); "
            "name files with --validation"
        )
    return examples.select(np.flatnonzero(~chosen)), examples.select(np.flatnonzero(chosen))
