"""Labelled examples for fine-tuning and evaluating, from raw texts or from an encoded dataset.

Examples are sorted by their content, so that what is learned depends neither on the order of files
and lines nor on whether the texts were encoded before. The validation part is chosen by content too,
and near-duplicates stay together.
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
from pipelines.records.manifest import MANIFEST, Manifest, read_manifest, read_split
from pipelines.records.ragged import concatenate
from pipelines.tokenize.token_tables import labels_of
from trainer.finetuning.encoded import EncodedTexts, encode_texts
from trainer.finetuning.task import fingerprints

TRAIN, VALIDATION = "train", "validation"


@dataclass(frozen=True)
class Source:
    """Where examples come from: files, or the one folder of a dataset, which has a manifest.

    ``flag`` is the option that named them.
    """

    flag: str
    names: tuple[str, ...]
    dataset: Manifest | None

    @property
    def folder(self) -> str:
        """The dataset's folder."""
        return self.names[0]

    def fingerprint(self) -> list[Any]:
        """What identifies the examples, in whatever folder they are."""
        if self.dataset is not None:
            return ["dataset", self.dataset.fingerprint]
        return fingerprints(files.match(self.names, self.flag))

    def fields(self) -> Fields:
        """Where text, second text and label stood in the files of the dataset."""
        assert self.dataset is not None
        names = ("text_field", "text_pair_field", "label_field")
        return Fields(*(self.dataset.config.get(name) or "" for name in names))


def find_source(names: Sequence[str], flag: str) -> Source:
    """Files, or the output of pipelines.tokenize --packing examples if one is named.

    Raises UserError for rows that were packed for pretraining, or a folder among files.
    """
    finished = [name for name in names if files.exists(files.join(name, MANIFEST))]
    manifests = {name: read_manifest(name, flag=flag) for name in finished}
    datasets = {name: m for name, m in manifests.items() if m.stage == "tokenize"}
    for folder, manifest in datasets.items():
        packing = manifest.facts["packing"]
        if packing != "examples":
            raise UserError(
                f"--{flag}: {folder} holds rows packed as {packing}, for pretraining; make examples "
                "with pipelines.tokenize --packing examples --label_field …"
            )
        if len(names) > 1:
            raise UserError(
                f"--{flag}: {folder} is a dataset of encoded examples; name it alone, found "
                f"{len(names)} names"
            )
    return Source(flag, tuple(names), next(iter(datasets.values()), None))


def check_dataset(source: Source, preprocessor: Any, seq_length: int | None) -> None:
    """Raises UserError unless a dataset is what the preset's preprocessor would make of its texts.

    ``seq_length``: what the user asked for, if anything.
    """
    assert source.dataset is not None
    tokenizer, facts = preprocessor.tokenizer, source.dataset.facts
    problem = f"--{source.flag}: {source.folder}"
    mine, theirs = tokenizer.loaded_vocabulary().fingerprint, facts["vocabulary"]["fingerprint"]
    again = "tokenize again with the preset's --vocab"
    if mine != theirs:
        raise UserError(
            f"{problem} was made with another vocabulary than the preset's "
            f"({facts['vocabulary']['size']:,} pieces {theirs[:12]}…, the preset's "
            f"{tokenizer.vocabulary_size():,} pieces {mine[:12]}…); {again}"
        )
    for name in ("lowercase", "strip_accents"):
        own = bool(getattr(tokenizer, name))
        if facts[name] != own:
            raise UserError(
                f"{problem} was made with {name} {str(facts[name]).lower()}, the preset has "
                f"{str(own).lower()}; {again} and --{name} {str(own).lower()}"
            )
    if tokenizer.special_tokens_in_strings or preprocessor.truncate != "round_robin":
        raise UserError(
            f"{problem}: the preset's preprocessor recognises special tokens in texts or cuts long "
            "pairs its own way, which pipelines.tokenize does not; name the texts themselves"
        )
    if seq_length is not None and seq_length != facts["seq_length"]:
        raise UserError(
            f"--seq_length {seq_length}: {source.folder} was made with {facts['seq_length']}; leave "
            "the flag out or tokenize again"
        )


@dataclass(frozen=True)
class Examples:
    """n encoded examples with their ids uint64[n], labels as read, and where each came from.

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
    source: Source,
    fields: Fields,
    preprocessor: Any,
    *,
    split: str = TRAIN,
    drop_empty: bool = False,
    check: Callable[[Sequence[Any], Sequence[str]], Any] | None = None,
) -> Examples:
    """Reads labelled texts, or a dataset, in the order of their content.

    ``split`` is what to take of a dataset that has both. ``preprocessor`` encodes texts; for a dataset
    it must have the dataset's length and be what the dataset was made with. ``check`` looks at labels
    and places in the order of the files, so that it reports the first bad one.
    """
    if source.dataset is None:
        examples = _encode_files(source, fields, preprocessor, drop_empty)
    else:
        check_dataset(source, preprocessor, None)
        made_with = source.dataset.facts["seq_length"]
        if preprocessor.sequence_length < made_with:
            raise UserError(
                f"--{source.flag}: {source.folder} was made with seq_length {made_with}, longer than "
                f"the {preprocessor.sequence_length} in use; tokenize again with that"
            )
        split = split if split in source.dataset.splits else TRAIN
        examples = _read_dataset(source.folder, source.dataset, split, source.flag)
    if check is not None:
        check(examples.labels, examples.places)
    names = np.array([as_class_name(label) for label in examples.labels])
    return examples.select(np.lexsort((names, examples.ids)))


def _encode_files(source: Source, fields: Fields, preprocessor: Any, drop_empty: bool) -> Examples:
    data = read_labelled(source.names, fields, source.flag)
    empty = data.empty() if drop_empty else []
    if empty and len(empty) == len(data):
        raise UserError(f"--{source.flag}: all texts are empty; check --text_field and the files")
    data = data.select(np.setdiff1d(np.arange(len(data)), empty))
    encoded = encode_texts(preprocessor, data)
    return Examples(encoded, data.ids(), list(data.labels or []), data.places, data, len(empty))


def _read_dataset(folder: str, manifest: Manifest, split: str, flag: str) -> Examples:
    """The examples of a split. Raises UserError for one without any, or a damaged shard."""
    tables = list(read_split(folder, manifest, split))
    if not tables:
        raise UserError(f"--{flag}: {folder} holds no {split} examples; name another")
    columns = concatenate(tables)
    runs, owners = columns["segment_lengths"], columns["doc_ids"]
    encoded = EncodedTexts(
        columns["token_ids"],
        first_lengths=runs.values[runs.offsets[:-1]].astype(np.int64),
        cut=columns["tokens_cut"] > 0,
        seq_length=int(manifest.facts["seq_length"]),
        pad_id=manifest.facts["vocabulary"]["pad_id"],
    )
    places = [f"{folder}: {split} example {i + 1}" for i in range(len(encoded))]
    return Examples(encoded, owners.values[owners.offsets[:-1]], labels_of(columns), places, None)


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
            f"({len(examples):,} in all); name files with --validation"
        )
    return examples.select(np.flatnonzero(~chosen)), examples.select(np.flatnonzero(chosen))
