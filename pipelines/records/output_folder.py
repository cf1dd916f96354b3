"""The folder that a stage writes: whose it is, what may be replaced in it, and when it is finished.

A folder belongs to the stage that its manifest or run.json names. An empty one can be claimed:
run.json, which names the stage from then on, is the first file in it and the manifest the last. All
other folders are somebody's, and refused. What is hidden (.lock, temporary files) does not count.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from pipelines.errors import UserError
from pipelines.records.checksums import write_checksums
from pipelines.records.manifest import MANIFEST, RUN, Manifest, read_manifest
from pipelines.records.shards import SHARD_NAME
from pipelines.storage import files
from pipelines.storage.folder_lock import lock_folder
from pipelines.storage.json_file import read_json
from pipelines.storage.real_paths import refuse_overlap

_UNREADABLE = (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError)


def prepare_output(
    folder: str,
    config: Mapping[str, Any],
    inputs: Any,
    *,
    overwrite: bool,
    stage: str,
    makes: Iterable[str] = (),
    reads: Mapping[str, Iterable[str]] | None = None,
    begun: bool = False,
) -> bool:
    """Prepares ``folder`` for writing, unless it already holds this very output: then returns True.

    config, inputs: the fields that decide the bytes, and (JSON) what is read.
    makes: the names of what the stage writes there besides shards, manifest and run.json.
    reads: the paths that are read, by their flags.
    begun: the stage has seen by a file of its own that it began this output.

    Raises UserError for a different output, unless ``overwrite``, and in any case for a folder that
    is not the stage's, or holds what it reads. Removes what an interrupted run left.
    """
    refuse_overlap(folder, reads or {})
    asked = _identity({"stage": stage, "config": config, "inputs": inputs})

    def is_finished() -> bool:
        _refuse_others(folder, stage, makes, overwrite=overwrite, begun=begun)
        return not overwrite and _holds(folder, asked)

    if is_finished():
        return True
    files.make_folder(folder)
    lock_folder(folder)
    # Another process may have finished while we took the lock.
    if is_finished():
        return True
    old = _shards_in(folder) if files.exists(files.join(folder, MANIFEST)) else set()
    # Without a config: until the manifest is gone too, this is no output that anyone asks for.
    files.publish_bytes(files.join(folder, RUN), json.dumps({"stage": stage}).encode())
    # First the success marker, then what it vouched for.
    files.delete([files.join(folder, MANIFEST)])
    files.delete(files.join(folder, name) for name in sorted(old))
    files.delete_temporaries(folder)
    return False


def finish_output(
    folder: str,
    manifest: Manifest,
    inputs: Any,
    run: Mapping[str, Any],
    *,
    steps: Mapping[str, float] | None = None,
    reads: Mapping[str, Any] | None = None,
    listed: Sequence[str] = (),
) -> None:
    """Publishes ``run.json`` (this run: inputs, times, rates) and then the manifest.

    steps: the seconds that workers took over each step, added up.
    reads: the paths that were read, by their flags, as they were given.
    listed: the names of the files to list, with these two, in SHA256SUMS; none: there is no list.

    Removes the shards that an interrupted run with other options left in the folder.
    """
    content = manifest.to_json()
    record = {
        "stage": manifest.stage,
        "config": dict(manifest.config),
        "inputs": inputs,
        **({"reads": reads} if reads else {}),
        "run": run,
        **({"steps": steps} if steps else {}),
        "manifest": hashlib.sha256(content).hexdigest(),
    }
    files.publish_bytes(files.join(folder, RUN), (json.dumps(record, indent=1) + "\n").encode())
    if listed:
        write_checksums(folder, {*listed, RUN}, {MANIFEST: hashlib.sha256(content).hexdigest()})
    files.publish_bytes(files.join(folder, MANIFEST), content)
    strays = _numbered_shards(folder) - {shard.name for shard in manifest.shards()}
    files.delete(files.join(folder, name) for name in sorted(strays))


def read_run(folder: str) -> dict[str, Any]:
    """The times and rates of the run that made a finished output; UserError where nothing says so."""
    run = read_record(folder).get("run")
    if not isinstance(run, dict):
        raise UserError(
            f"{files.join(folder, RUN)} is damaged; make the output again (--overwrite)"
        )
    return run


def read_record(folder: str) -> dict[str, Any]:
    """What run.json says. Raises UserError if it is damaged, OSError if there is none."""
    return read_json(files.join(folder, RUN))


def _refuse_others(
    folder: str, stage: str, makes: Iterable[str], *, overwrite: bool, begun: bool
) -> None:
    """Raises UserError unless the folder is empty or the stage's own.

    In its own, files that it did not make are left alone by a run that goes on; one that overwrites
    refuses them. It never touches folders that are not its own.
    """
    stages = _stages_of(folder)
    if others := sorted(stages - {stage}):
        raise UserError(
            f"--output: {folder} already holds a different output (stage {others[0]}); choose "
            "another folder"
        )
    if not stages and not begun:
        names = _names_in(folder)
    elif overwrite:
        names = set(files.names_in(folder)) - {MANIFEST, RUN, *makes} - _shards_in(folder)
    else:
        return
    if foreign := sorted(name for name in names if not name.startswith(".")):
        raise UserError(
            f"--output: {folder} holds {foreign[0]}, which is not known to be made by stage {stage}; "
            "choose another folder or move it away"
        )


def _stages_of(folder: str) -> set[str]:
    """The stages that wrote manifest and run.json, where there are any that can be read."""
    stages = set()
    for name in (MANIFEST, RUN):
        with suppress(*_UNREADABLE):
            stage = json.loads(files.read_bytes(files.join(folder, name)))["stage"]
            stages.add(" ".join(str(stage).split())[:50])
    return stages


def _names_in(folder: str) -> set[str]:
    """Files and folders; at object stores, which have no folders, files."""
    if files.is_remote(folder):
        return set(files.names_in(folder))
    return set(os.listdir(folder)) if os.path.isdir(folder) else set()


def _shards_in(folder: str) -> set[str]:
    """The shards that the manifest names, or without one what may be shards by their names."""
    try:
        return {shard.name for shard in read_manifest(folder).shards()}
    except UserError:
        return _numbered_shards(folder)


def _numbered_shards(folder: str) -> set[str]:
    matches = map(SHARD_NAME.fullmatch, files.names_in(folder))
    return {m[0] for m in matches if m and m["index"] and m["split"] in ("train", "validation")}


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
    except _UNREADABLE:
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
