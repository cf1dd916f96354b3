"""The manifest: index, provenance and success marker of a stage's output.

``manifest.json`` is written last and atomically: a folder without one is not finished. It holds
only what follows from (documents, config, code version), so equal outputs have equal manifests; the
times, rates and input paths of one particular run are beside it in ``run.json``.
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from pipelines.errors import UserError
from pipelines.records.check_manifest import check_manifest
from pipelines.records.codec import Field, Schema
from pipelines.records.ragged import Columns
from pipelines.records.shards import ShardInfo, ShardReader, local_copy
from pipelines.storage import files
from pipelines.storage.json_file import read_json

MANIFEST = "manifest.json"
RUN = "run.json"

# Changes whenever files of this version could not be read, or would not be made, by older code.
FORMAT_VERSION = 1


@dataclass(frozen=True)
class Manifest:
    """What a stage made.

    ``config``: the fields that decide the bytes. ``counts``: what came in, went out and was dropped
    by which reason. ``splits``: the shards of each split ('train', 'validation'). ``schema``: the
    fields of a record. ``facts``: what readers need (seq_length, vocabulary fingerprint, …).
    ``versions``: of what decides the bytes besides; outputs of before there were any have none.
    """

    stage: str
    config: Mapping[str, Any]
    counts: Mapping[str, int]
    facts: Mapping[str, Any] = field(default_factory=dict)
    schema: Schema = ()
    splits: Mapping[str, tuple[ShardInfo, ...]] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    format_version: int = FORMAT_VERSION

    def to_json(self) -> bytes:
        """Canonical JSON: equal manifests are equal bytes."""
        fields = asdict(self)
        if not self.versions:
            del fields["versions"]
        return (json.dumps(fields, indent=1, sort_keys=True) + "\n").encode()

    @property
    def fingerprint(self) -> str:
        """Identifies this output: SHA-256 (hex) of its manifest without the versions."""
        return hashlib.sha256(replace(self, versions={}).to_json()).hexdigest()

    def shards(self) -> list[ShardInfo]:
        """Those of all splits."""
        return [shard for shards in self.splits.values() for shard in shards]

    def rows(self, split: str) -> int:
        """The number of records in a split (0 if there is no such split)."""
        return sum(shard.records for shard in self.splits.get(split, ()))


def read_manifest(folder: str, stages: tuple[str, ...] = (), flag: str = "input") -> Manifest:
    """The manifest of a finished output of one of ``stages`` (any, if empty).

    Raises UserError if there is none, if it is damaged, or if another stage wrote it.
    """
    path = files.join(folder, MANIFEST)
    if not files.exists(path):
        problem = "is not finished: it has no" if files.exists(folder) else "does not exist: no"
        raise UserError(
            f"--{flag}: {folder} {problem} {MANIFEST}; run the stage that makes it first"
        )
    try:
        data = read_json(path, "make the output again (--overwrite)")
        if data["format_version"] != FORMAT_VERSION:
            raise UserError(
                f"{path}: format version {data['format_version']}, this code reads "
                f"{FORMAT_VERSION}; make the output again or install a matching version"
            )
        check_manifest(data)
        data["schema"] = tuple(Field(**entry) for entry in data["schema"])
        data["splits"] = {
            split: tuple(ShardInfo(**entry) for entry in shards)
            for split, shards in data["splits"].items()
        }
        manifest = Manifest(**data)
    except UserError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        # What check_manifest finds is said in its words.
        said = " ".join(str(error).split())[:200]
        problem = said if type(error) is ValueError else "not a manifest"
        raise UserError(
            f"{path} is damaged: {problem}; make the output again (--overwrite)"
        ) from None
    if stages and manifest.stage not in stages:
        raise UserError(
            f"--{flag}: {folder} was written by stage {manifest.stage}, "
            f"expected {' or '.join(stages)}"
        )
    return manifest


@contextmanager
def open_shard(folder: str, manifest: Manifest, shard: ShardInfo) -> Iterator[ShardReader]:
    """The rows of a shard, fetched first if it is remote. Raises DamagedShardError (a UserError) if its
    checksum is not the manifest's."""
    with local_copy(folder, shard) as path:
        name = files.join(folder, shard.name)
        yield ShardReader(path, shard, manifest.schema, manifest.facts["format"], name)


def read_split(folder: str, manifest: Manifest, split: str) -> Iterator[Columns]:
    """All rows of a split (none if there is no such split), in order, part by part."""
    for shard in manifest.splits.get(split, ()):
        with open_shard(folder, manifest, shard) as reader:
            yield from reader.in_order(1 << 14)


def check_balance(counts: Mapping[str, int], what: str, total: str, parts: tuple[str, ...]) -> None:
    """Nothing is lost in silence: raises RuntimeError unless counts[total] = the sum of parts.

    A part may be a pattern, such as ``documents_dropped_*``.
    """
    names = [name for part in parts for name in fnmatch.filter(sorted(counts), part)]
    total_count, summed = counts.get(total, 0), sum(counts[name] for name in names)
    if total_count != summed:
        terms = " + ".join(f"{name} {counts[name]}" for name in names)
        raise RuntimeError(
            f"{what} do not balance: {total} = {total_count}, but {terms} = {summed}; "
            "nothing was published, please report this"
        )
