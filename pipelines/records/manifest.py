"""The manifest: index, provenance and success marker of a stage's output.

``manifest.json`` is written last and atomically: a folder without one is not finished. It holds
only what follows from (documents, config, code version), so equal outputs have equal manifests; the
times, rates and input paths of one particular run are beside it in ``run.json``.
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

from pipelines import files
from pipelines.errors import UserError
from pipelines.folder_lock import lock_folder
from pipelines.records.codec import Field, Schema
from pipelines.records.ragged import Columns
from pipelines.records.shards import ShardInfo, ShardReader, local_copy

MANIFEST = "manifest.json"
RUN = "run.json"

# Changes whenever files of this version could not be read, or would not be made, by older code.
FORMAT_VERSION = 1

_SHARD_NAME = re.compile(r"(train|validation)-\d{5}-of-\d{5}\.(array_record|tfrecord)")


@dataclass(frozen=True)
class Manifest:
    """What a stage made.

    ``config``: the fields that decide the bytes. ``counts``: what came in, went out and was dropped
    by which reason. ``splits``: the shards of each split ('train', 'validation'). ``schema``: the
    fields of a record. ``facts``: what readers need (seq_length, vocabulary fingerprint, …).
    """

    stage: str
    config: Mapping[str, Any]
    counts: Mapping[str, int]
    facts: Mapping[str, Any] = field(default_factory=dict)
    schema: Schema = ()
    splits: Mapping[str, tuple[ShardInfo, ...]] = field(default_factory=dict)
    format_version: int = FORMAT_VERSION

    def to_json(self) -> bytes:
        """Canonical JSON: equal manifests are equal bytes."""
        return (json.dumps(asdict(self), indent=1, sort_keys=True) + "\n").encode()

    @property
    def fingerprint(self) -> str:
        """Identifies this output: SHA-256 (hex) of its manifest."""
        return hashlib.sha256(self.to_json()).hexdigest()

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
        data = json.loads(files.read_bytes(path))
        if data["format_version"] != FORMAT_VERSION:
            raise UserError(
                f"{path}: format version {data['format_version']}, this code reads "
                f"{FORMAT_VERSION}; make the output again or install a matching version"
            )
        data["schema"] = tuple(Field(**entry) for entry in data["schema"])
        data["splits"] = {
            split: tuple(ShardInfo(**entry) for entry in shards)
            for split, shards in data["splits"].items()
        }
        manifest = Manifest(**data)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UserError(
            f"{path} is damaged: not a manifest; make the output again (--overwrite)"
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


def prepare_output(
    folder: str, config: Mapping[str, Any], inputs: Any, *, overwrite: bool, stage: str
) -> bool:
    """Prepares ``folder`` for writing, unless it already holds this very output: then returns True.

    ``config`` are the fields that decide the bytes, ``inputs`` (JSON) what is read. Raises UserError
    for a different output, unless ``overwrite``. Removes what an interrupted run left.
    """
    asked = _identity({"stage": stage, "config": config, "inputs": inputs})
    if not overwrite and _holds(folder, asked):
        return True
    files.make_folder(folder)
    lock_folder(folder)
    # Another process may have finished while we took the lock.
    if not overwrite and _holds(folder, asked):
        return True
    if files.exists(files.join(folder, MANIFEST)):
        # First the success marker, then what it vouched for.
        old = _old_shards(folder)
        files.delete([files.join(folder, MANIFEST), files.join(folder, RUN)])
        files.delete(old)
    files.delete_temporaries(folder)
    return False


def finish_output(folder: str, manifest: Manifest, inputs: Any, run: Mapping[str, Any]) -> None:
    """Publishes ``run.json`` (this run: inputs, times, rates) and then the manifest.

    Removes the shards that an interrupted run with other options left in the folder.
    """
    record = {
        "stage": manifest.stage,
        "config": dict(manifest.config),
        "inputs": inputs,
        "run": run,
    }
    files.publish_bytes(files.join(folder, RUN), (json.dumps(record, indent=1) + "\n").encode())
    files.publish_bytes(files.join(folder, MANIFEST), manifest.to_json())
    strays = {name for name in files.names_in(folder) if _SHARD_NAME.fullmatch(name)}
    strays -= {shard.name for shard in manifest.shards()}
    files.delete(files.join(folder, name) for name in strays)


def read_run(folder: str) -> dict[str, Any]:
    """The times and rates of the run that made a finished output."""
    return dict(json.loads(files.read_bytes(files.join(folder, RUN)))["run"])


def _identity(record: Mapping[str, Any]) -> dict[str, Any]:
    """What two runs of one output have in common; a field that is not set counts as absent, because it
    may not have existed yet when the output was made."""
    config = {name: value for name, value in record["config"].items() if value is not None}
    identity = {"stage": record["stage"], "config": config, "inputs": record["inputs"]}
    return json.loads(json.dumps(identity))


def _holds(folder: str, asked: Mapping[str, Any]) -> bool:
    """True if the folder holds the output asked for, False if none; UserError if another."""
    if not files.exists(files.join(folder, MANIFEST)):
        return False
    try:
        held = _identity(json.loads(files.read_bytes(files.join(folder, RUN))))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        held = {"stage": "unknown"}
    if held == asked:
        return True
    raise UserError(
        f"--output: {folder} already holds a different output ({_difference(held, asked)}); "
        "choose another folder or add --overwrite"
    )


def _difference(held: Mapping[str, Any], asked: Mapping[str, Any]) -> str:
    """Names what is not the same, for the error message."""
    if held["stage"] != asked["stage"]:
        return f"stage {held['stage']}"
    old, new = held["config"], asked["config"]
    changed = [
        f"{name} was {old.get(name)!r}, now {new.get(name)!r}"
        for name in sorted({*old, *new})
        if old.get(name) != new.get(name)
    ]
    return ", ".join(changed) or "its input files have changed"


def _old_shards(folder: str) -> list[str]:
    try:
        return [files.join(folder, shard.name) for shard in read_manifest(folder).shards()]
    except UserError:
        return []


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
