"""Where an output comes from: the outputs that it was made from, as far as they are where they were."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from pipelines.errors import UserError
from pipelines.records.manifest import MANIFEST, Manifest, read_manifest
from pipelines.records.output_folder import read_record
from pipelines.storage import files

# The flags that may name an earlier output.
_FROM = ("vocab", "input", "data", "run", "preset")
_DEEPEST = 8


@dataclass(frozen=True)
class Made:
    """An output: its manifest, what run.json says ({} without one), and when it was finished.

    ``problem``: why it may not be what the next one was made from.
    """

    folder: str
    manifest: Manifest
    record: Mapping[str, Any]
    finished: str
    problem: str = ""

    @property
    def run(self) -> Mapping[str, Any]:
        """The times and rates of the run that made it."""
        run = self.record.get("run")
        return run if isinstance(run, dict) else {}

    @property
    def seconds(self) -> float | None:
        """How long that took; None where nothing says so."""
        seconds = self.run.get("seconds")
        return float(seconds) if isinstance(seconds, int | float) else None

    @property
    def steps(self) -> list[tuple[str, float, float]]:
        """(step, seconds, share of all) of what its workers did, the longest first."""
        steps = self.record.get("steps")
        seconds = {name: float(taken) for name, taken in (steps or {}).items()}
        total = sum(seconds.values()) or 1.0
        longest = sorted(seconds.items(), key=lambda step: -step[1])
        return [(name, taken, taken / total) for name, taken in longest]

    @property
    def vocabulary(self) -> str:
        """The SHA-256 of its vocabulary; empty where the manifest does not say."""
        vocabulary = self.manifest.facts.get("vocabulary")
        return str(vocabulary["fingerprint"]) if isinstance(vocabulary, dict) else ""


@dataclass
class Lineage:
    """The outputs from the first to the one asked for, and the files that were read first."""

    outputs: list[Made] = field(default_factory=list)
    inputs: list[str] = field(default_factory=list)


def trace(folder: str) -> Lineage:
    """The lineage of a finished output. Raises UserError as ``read_manifest`` does."""
    lineage = Lineage()
    _trace(folder, read_manifest(folder, flag="data"), "", lineage, _DEEPEST)
    return lineage


def _trace(folder: str, manifest: Manifest, problem: str, lineage: Lineage, deepest: int) -> None:
    record: Mapping[str, Any] = {}
    with suppress(UserError, OSError):
        record = read_record(folder)
    made = Made(folder, manifest, record, _finished(folder), problem)
    reads = record.get("reads")
    for flag in _FROM:
        paths = reads.get(flag) if isinstance(reads, dict) else None
        for path in [paths] if isinstance(paths, str) else paths or ():
            if any(path == before.folder for before in lineage.outputs):
                continue
            earlier = _manifest_in(path) if deepest else None
            if earlier:
                _trace(path, earlier, _difference(earlier, made), lineage, deepest - 1)
            elif flag != "vocab" and path not in lineage.inputs:
                lineage.inputs.append(str(path))
    lineage.outputs.append(made)


def _manifest_in(path: Any) -> Manifest | None:
    with suppress(UserError, OSError):
        if isinstance(path, str) and files.exists(files.join(path, MANIFEST)):
            return read_manifest(path)
    return None


def _difference(earlier: Manifest, later: Made) -> str:
    """Why ``earlier`` is not what ``later`` was made from; empty where nothing says so."""
    facts = later.manifest.facts
    if "rows" in facts and earlier.stage == "tokenize" and facts["rows"] != earlier.fingerprint:
        return "made anew since: its manifest is another now"
    vocabulary = earlier.facts.get("vocabulary")
    named = vocabulary.get("fingerprint") if isinstance(vocabulary, dict) else None
    if named and later.vocabulary and named != later.vocabulary:
        return "made anew since: its vocabulary is another now"
    return ""


def _finished(folder: str) -> str:
    """When, to the minute, by its manifest; empty where that is no local file."""
    path = files.join(folder, MANIFEST)
    if files.is_remote(path):
        return ""
    return f"{datetime.fromtimestamp(os.stat(path).st_mtime, timezone.utc):%Y-%m-%d %H:%M} UTC"
