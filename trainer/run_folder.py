"""The output folder of a pretraining run: what its files are called, and which run it holds.

A run is identified by what decides its weights (``PretrainPlan.deciding``). identity.json holds that
from before the first step, with the config that the run was started with, so that a folder is never
continued by another run, and any step can be computed again. manifest.json, as everywhere, comes last.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pipelines.errors import UserError
from pipelines.records.checksums import CHECKSUMS
from pipelines.storage import files
from pipelines.storage.json_file import read_json

IDENTITY = "identity.json"
METRICS = "metrics.jsonl"
TENSORBOARD = "tensorboard"
CHECKPOINTS = "checkpoints"
WEIGHTS = "model.weights.h5"
# Some masked rows, to try a model on.
SAMPLE = "sample.npz"
REPORT = "report.html"
FILES = (IDENTITY, METRICS, WEIGHTS, SAMPLE, REPORT, CHECKSUMS)


def claim_folder(output: str, identity: Mapping[str, Any], *, overwrite: bool) -> None:
    """Claims the folder for the run with this identity.

    Raises UserError, with what differs, if it holds an unfinished run of another kind;
    ``overwrite`` deletes what that published instead.
    """
    path = files.join(output, IDENTITY)
    if overwrite:
        files.delete([files.join(output, name) for name in FILES])
    elif files.exists(path):
        check_same_run(output, read_identity(output)["deciding"], identity["deciding"])
    files.publish_bytes(path, (json.dumps(identity, indent=1) + "\n").encode())


def holds_run(output: str) -> bool:
    """True if the folder says that a pretraining run was begun there."""
    try:
        return bool(read_identity(output))
    except (UserError, OSError):
        return False


def check_same_run(output: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raises UserError unless the fields that decide the run in the folder are those of this one."""
    if changes := describe_changes(before, now):
        raise UserError(
            f"--output: {output} holds an unfinished run of another kind ({changes}); give "
            "that again, choose another folder, or start over with --overwrite"
        )


def read_identity(output: str) -> dict[str, Any]:
    """``deciding`` and ``config`` of the run in a folder. Raises UserError where there is none."""
    path = files.join(output, IDENTITY)
    try:
        identity = read_json(path, "start the run over with --overwrite")
        return {"deciding": dict(identity["deciding"]), "config": dict(identity["config"])}
    except FileNotFoundError:
        raise UserError(
            f"{output} holds no pretraining run: no {IDENTITY}; name the --output of one"
        ) from None
    except UserError:
        raise
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{path} is damaged; start the run over with --overwrite") from None


def describe_changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """What differs between the deciding fields of two runs, for people; empty if nothing."""
    changes = []
    for name in sorted({*before, *now}):
        old, new = before.get(name), now.get(name)
        if old == new:
            continue
        if isinstance(old, dict) and isinstance(new, dict):
            changes.append(describe_changes(old, new))
        elif name == "data":
            changes.append("data was another")
        else:
            changes.append(f"{name} was {old!r}, now {new!r}")
    return ", ".join(changes)
