"""Where labelled examples come from: files of texts, or a dataset that has been encoded before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.documents.labelled import Fields
from pipelines.errors import UserError
from pipelines.records.manifest import MANIFEST, Manifest, read_manifest
from pipelines.storage import files
from trainer.finetuning.task import fingerprints


@dataclass(frozen=True)
class Source:
    """Files, or the one folder of a dataset, which has a manifest.

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

    def paths(self) -> list[str]:
        """What was named and, of texts, the files that were found."""
        if self.dataset is not None:
            return [*self.names]
        return [*self.names, *(info.path for info in files.match(self.names, self.flag))]

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
    if source.dataset is None:
        return
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
