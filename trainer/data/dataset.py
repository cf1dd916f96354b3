"""Training data: the one place that knows how the outputs of earlier stages are laid out.

A dataset is the output folder of ``pipelines.tokenize`` (rows) or ``pipelines.mask`` (examples, in
``copies`` maskings: training shard ``copy * n + i`` holds copy ``copy`` of row shard i of n, in the
same row order). Rows are numbered 0, 1, … through the shards of a split, whatever the copy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.errors import UserError
from pipelines.records.manifest import Manifest, read_manifest
from pipelines.records.shards import ShardInfo
from pipelines.storage import files
from pipelines.text.vocabulary import Vocabulary
from pipelines.text.vocabulary_source import VOCABULARY_FILE, check_vocabulary

TRAIN, VALIDATION = "train", "validation"


@dataclass(frozen=True)
class Dataset:
    """A finished output of tokenize or mask: its folder, manifest and vocabulary."""

    folder: str
    manifest: Manifest
    vocabulary: Vocabulary

    @property
    def is_masked(self) -> bool:
        """True for examples (masked before), False for rows (masked on the fly)."""
        return self.manifest.stage == "mask"

    @property
    def is_remote(self) -> bool:
        """True if its shards have to be fetched."""
        return files.is_remote(self.folder)

    @property
    def seq_length(self) -> int:
        """Tokens in a full row."""
        return int(self.manifest.facts["seq_length"])

    @property
    def separates_documents(self) -> bool:
        """True if attention must stay inside each document of a row."""
        return self.manifest.facts["packing"] == "documents"

    @property
    def has_labels(self) -> bool:
        """True if every row says whether its second segment follows its first."""
        return self.manifest.facts["packing"] == "pairs"

    def copies(self, split: str) -> int:
        """How many maskings of each row there are on disk."""
        return int(self.manifest.facts["copies"]) if self.is_masked and split == TRAIN else 1

    def shards(self, split: str) -> tuple[ShardInfo, ...]:
        """The shards of a split, those of copy 0 first."""
        return self.manifest.splits.get(split, ())

    def shard_rows(self, split: str) -> list[int]:
        """How many rows each shard of one copy has."""
        shards = self.shards(split)
        return [shard.records for shard in shards[: len(shards) // self.copies(split)]]

    def rows(self, split: str) -> int:
        """Number of rows in a split (each counted once, however many copies)."""
        return sum(self.shard_rows(split))

    def path(self, shard: ShardInfo) -> str:
        """Where a shard is."""
        return files.join(self.folder, shard.name)


def repeated_share(datasets: Sequence[Dataset]) -> float:
    """The share of their documents that repeat another one, as far as their manifests tell."""
    counts = [dataset.manifest.counts for dataset in datasets]
    repeated, documents = (
        sum(each.get(name, 0) for each in counts)
        for name in ("documents_repeated", "documents_out")
    )
    return repeated / max(1, documents)


def open_dataset(folder: str) -> Dataset:
    """Opens the output of tokenize or mask.

    Raises UserError if it is not finished, or its vocab.txt is not the one its rows were made with.
    """
    manifest = read_manifest(folder, ("tokenize", "mask"), flag="data")
    vocabulary = Vocabulary.load(files.join(folder, VOCABULARY_FILE))
    check_vocabulary(folder, vocabulary, manifest)
    return Dataset(folder, manifest, vocabulary)


def open_datasets(folders: Sequence[str]) -> list[Dataset]:
    """Opens the datasets of a mixture. Raises UserError where they do not fit together."""
    datasets = [open_dataset(folder) for folder in folders]
    first = datasets[0]
    for other in datasets[1:]:
        if other.vocabulary.fingerprint != first.vocabulary.fingerprint:
            raise UserError(
                f"--data: {other.folder} was made with another vocabulary than {first.folder}; "
                "tokenize both with the same"
            )
        for fact in ("seq_length", "lowercase", "strip_accents"):
            mine, theirs = first.manifest.facts[fact], other.manifest.facts[fact]
            if mine != theirs:
                raise UserError(
                    f"--data: {fact} is {mine} in {first.folder} but {theirs} in {other.folder}; "
                    "tokenize both with the same"
                )
    for dataset in datasets:
        if dataset.rows(TRAIN) == 0:
            raise UserError(f"--data: {dataset.folder} holds no training rows")
    return datasets
