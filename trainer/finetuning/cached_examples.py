"""Examples that ``pipelines.tokenize --packing examples`` has encoded, for fine-tuning.

They are taken only where they are what the preset's own preprocessor would make of the same texts:
vocabulary, case, accents and truncation must be the preset's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines import files
from pipelines.documents.labelled import Fields
from pipelines.errors import UserError
from pipelines.records.manifest import MANIFEST, Manifest, read_manifest, read_split
from pipelines.records.ragged import concatenate, flat_column, ragged_column
from pipelines.tokenize.pack_labelled import labels_of
from trainer.finetuning.encoded import EncodedTexts


@dataclass(frozen=True)
class CachedRows:
    """n examples as they stand in the shards: encoded, ids uint64[n], labels as text."""

    encoded: EncodedTexts
    ids: NDArray[np.uint64]
    labels: list[str]


def find_cached(patterns: Sequence[str], flag: str) -> tuple[str, Manifest] | None:
    """The folder and manifest, if a single output of stage tokenize is named.

    Raises UserError for rows that were packed for pretraining, or a folder among files.
    """
    found = [name for name in patterns if files.exists(files.join(name, MANIFEST))]
    manifests = [(name, read_manifest(name, flag=flag)) for name in found]
    cached = [(name, manifest) for name, manifest in manifests if manifest.stage == "tokenize"]
    if not cached:
        return None
    folder, manifest = cached[0]
    packing = manifest.facts["packing"]
    if packing != "examples":
        raise UserError(
            f"--{flag}: {folder} holds rows packed as {packing}, for pretraining; make examples with "
            "pipelines.tokenize --packing examples --label_field …"
        )
    if len(patterns) > 1:
        raise UserError(
            f"--{flag}: {folder} is a dataset of encoded examples; name it alone, found "
            f"{len(patterns)} names"
        )
    return folder, manifest


def fields_of(manifest: Manifest) -> Fields:
    """Where text, second text and label stood in the files."""
    config = manifest.config
    return Fields(
        config["text_field"], config.get("text_pair_field") or "", config.get("label_field") or ""
    )


def check_cached(
    folder: str, manifest: Manifest, preprocessor: Any, seq_length: int | None, flag: str
) -> None:
    """Raises UserError unless the rows are what the preset's preprocessor would make.

    ``seq_length``: what the user asked for, if anything.
    """
    tokenizer, facts = preprocessor.tokenizer, manifest.facts
    mine, theirs = tokenizer.loaded_vocabulary().fingerprint, facts["vocabulary"]["fingerprint"]
    again = "tokenize again with the preset's --vocab"
    if mine != theirs:
        raise UserError(
            f"--{flag}: {folder} was made with another vocabulary than the preset's "
            f"({facts['vocabulary']['size']:,} pieces {theirs[:12]}…, the preset's "
            f"{tokenizer.vocabulary_size():,} pieces {mine[:12]}…); {again}"
        )
    for name in ("lowercase", "strip_accents"):
        own = bool(getattr(tokenizer, name))
        if facts[name] != own:
            raise UserError(
                f"--{flag}: {folder} was made with {name} {str(facts[name]).lower()}, the preset has "
                f"{str(own).lower()}; {again} and --{name} {str(own).lower()}"
            )
    if tokenizer.special_tokens_in_strings or preprocessor.truncate != "round_robin":
        raise UserError(
            f"--{flag}: {folder}: the preset's preprocessor recognises special tokens in texts or cuts "
            "long pairs its own way, which pipelines.tokenize does not; name the texts themselves"
        )
    if seq_length is not None and seq_length != facts["seq_length"]:
        raise UserError(
            f"--seq_length {seq_length}: {folder} was made with {facts['seq_length']}; leave the flag "
            "out or tokenize again"
        )


def read_cached(folder: str, manifest: Manifest, split: str, flag: str) -> CachedRows:
    """The examples of a split. Raises UserError for one without any, or a damaged shard."""
    parts = list(read_split(folder, manifest, split))
    if not parts:
        raise UserError(f"--{flag}: {folder} holds no {split} examples; name another")
    columns = concatenate(parts)
    names = ("token_ids", "segment_lengths", "doc_ids")
    tokens, runs, owners = (ragged_column(columns, name) for name in names)
    seq_length, vocabulary = int(manifest.facts["seq_length"]), manifest.facts["vocabulary"]
    present = np.arange(seq_length) < tokens.lengths[:, None]
    token_ids = np.full(present.shape, vocabulary["pad_id"], np.int32)
    token_ids[present] = tokens.values
    first = runs.values[runs.offsets[:-1]].astype(np.int64)
    encoded = EncodedTexts(
        token_ids,
        (present & (np.arange(seq_length) >= first[:, None])).astype(np.int32),
        tokens.lengths,
        flat_column(columns, "tokens_cut") > 0,
    )
    return CachedRows(encoded, owners.values[owners.offsets[:-1]], labels_of(columns))
