"""What is in a folder that a stage wrote, but for what differs between two runs that are alike."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from trainer.presets.weights import check_weights_file

# What holds times, or comes from them.
_OF_ONE_RUN = (
    *("run.json", "README.md", "metadata.json", "report.html", "identity.json", "SHA256SUMS"),
)


def contents(place: Path) -> dict[str, Any]:
    """What is in every file and folder below ``place``, hidden ones too, by its path in it; None for
    what is not the same in two runs."""
    found: dict[str, Any] = {}
    for path in sorted(place.rglob("*")):
        name = path.relative_to(place).as_posix()
        found[name] = None if path.is_dir() else _content(path)
    return found


def _content(path: Path) -> Any:
    if path.name in _OF_ONE_RUN or "tensorboard" in path.parts:
        return None
    try:
        return _values(path)
    except Exception:  # damaged
        return _hash(path.read_bytes())


def _values(path: Path) -> Any:
    if path.suffix == ".h5":
        import h5py

        # h5py's own visits take hours for thousands of groups in each other.
        names = check_weights_file(str(path))
        with h5py.File(path) as file:
            return {name: _hash(np.asarray(file[name][()]).tobytes()) for name in names}
    if path.suffix == ".npz":
        with np.load(path) as stored:
            return {n: _hash(stored[n].tobytes()) for n in stored.files if n != "record.json"}
    if path.name == "metrics.jsonl":
        lines = map(json.loads, path.read_text().splitlines())
        return [{name: v for name, v in line.items() if "loss" in name} for line in lines]
    return _hash(path.read_bytes())


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
