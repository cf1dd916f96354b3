"""Which files of an output are not as they were written."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from pipelines.errors import UserError
from pipelines.records.checksums import sha256_of
from pipelines.records.manifest import MANIFEST, RUN, Manifest, open_shard
from pipelines.records.output_folder import read_record
from pipelines.records.ragged import Columns
from pipelines.records.shards import local_copy
from pipelines.storage import files
from pipelines.text.vocabulary_source import VOCABULARY_FILE

_WITH_VOCABULARY = ("vocab", "tokenize", "mask", "pretrain")


def damaged_manifest(folder: str) -> Iterator[tuple[str, str]]:
    """(name, what is wrong) of the manifest, where it is not the one that its run wrote."""
    path = files.join(folder, MANIFEST)
    record = read_record(folder) if files.exists(files.join(folder, RUN)) else {}
    if sha256_of(path) != record.get("manifest", sha256_of(path)):
        yield (
            MANIFEST,
            f"{path} is not the manifest that {RUN} names; put it back or make the output again "
            "(--overwrite)",
        )


def damaged_vocabulary(folder: str, manifest: Manifest) -> Iterator[tuple[str, str]]:
    """(name, what is wrong) of vocab.txt, where it is not what the manifest says."""
    path = files.join(folder, VOCABULARY_FILE)
    if manifest.stage not in _WITH_VOCABULARY:
        return
    named = _fingerprint(manifest)
    if not files.exists(path):
        problem = "is missing"
    elif named and sha256_of(path) != named:
        problem = "is not the vocabulary that its manifest names"
    else:
        return
    yield (
        VOCABULARY_FILE,
        f"{path} {problem}; put it back or make the output again (--overwrite)",
    )


def unchecked_vocabulary(folder: str, manifest: Manifest) -> str:
    """Says of which vocab.txt nobody can tell whether it is as it was written."""
    if manifest.stage not in _WITH_VOCABULARY or _fingerprint(manifest):
        return ""
    return f", but {files.join(folder, VOCABULARY_FILE)}: {MANIFEST} has no checksum of it"


def _fingerprint(manifest: Manifest) -> str | None:
    """The SHA-256 of vocab.txt; manifests of an earlier version have none."""
    return manifest.facts.get("vocabulary", {}).get("fingerprint")


def damaged_shards(
    folder: str, manifest: Manifest, first: list[Columns]
) -> Iterator[tuple[str, str]]:
    """(name, what is wrong) of each shard whose size, checksum, record count or any record is not as
    the manifest says. ``first`` gets some rows of the first one that is whole and not empty."""
    for shard in manifest.shards():
        try:
            if not manifest.schema:  # files of another kind, such as a corpus: only the checksum
                with local_copy(folder, shard):
                    continue
            with open_shard(folder, manifest, shard) as reader:
                parts = reader.in_order()
                begin = next(parts)
                deque(parts, maxlen=0)
            if not first and shard.records:
                first.append(begin)
        except UserError as error:
            yield shard.name, str(error)
