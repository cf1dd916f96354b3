"""What is held fast of the stages' outputs: hashes, tables, losses, names and shapes; all as JSON."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.records.manifest import read_manifest
from tests.golden.stages import COMMANDS, help_text, run_stages

# What holds times, places or floating-point results.
_PASSING = ("run.json", ".lock")
_OF_A_RUN = (*_PASSING, "manifest.json", "README.md", "metadata.json", "SHA256SUMS")
_WEIGHTS = (".h5", ".safetensors")
_WITH_EQUAL_BYTES = ("vocab", "tokenize", "mask", "demo_task")
_LOSSES = ("loss", "next_sentence_loss", "validation_loss", "validation_next_sentence_loss")
_ORDERS: dict[str, dict[str, Any]] = {
    "pool": {"shards": [[37], [11]]},
    "mixture": {"shards": [[37], [11]], "weights": [1.0, 2.5]},
    "windows": {"shards": [[10, 9, 11, 8, 10]], "window": 2},
    "mixture of windows": {
        "weights": [2.0, 1.0],
        "shards": [[10, 10, 10], [9, 9]],
        "window": 2,
    },
    "second of two hosts": {"shards": [[37], [11]], "hosts": (1, 2)},
}
# With batches of 8 epochs of 48 rows end at step 6; the last is far away.
_STEPS = (0, 1, 5, 6, 1_000_003)


def write_golden(corpus: Path, work: Path, into: Path) -> None:
    """Runs all stages over ``corpus`` and writes golden.json and help/ to ``into``."""
    run_stages(corpus, work)
    measured = measure(work)
    into.mkdir(parents=True, exist_ok=True)
    text = json.dumps(measured, indent=1, sort_keys=True) + "\n"
    (into / "golden.json").write_text(text, encoding="utf-8")
    (into / "help").mkdir(exist_ok=True)
    for module in COMMANDS:
        (into / "help" / f"{module}.txt").write_text(help_text(module), encoding="utf-8")


def measure(work: Path) -> dict[str, dict[str, Any]]:
    """Section -> key -> value of the outputs of ``run_stages``."""
    hashed = {stage: _hashes(work / stage, _PASSING) for stage in _WITH_EQUAL_BYTES}
    return {
        **hashed,
        "machine": machine(),
        "order": _order(),
        "losses": _losses(work / "pretrain"),
        "run": _describe_runs(work / "pretrain"),
        "export": {
            **_hashes(work / "export", _OF_A_RUN),
            **_each(work / "export", "*/*.safetensors", _safetensors),
            **_each(work / "export", "*/*.h5", _hdf5),
            **_each(work / "export", "*/metadata.json", _metadata),
        },
        "files": {
            str(folder.relative_to(work)): sorted(_names(folder))
            for stage in ("export", "pretrain")
            for folder in sorted((work / stage).iterdir())
        },
    }


def machine() -> dict[str, Any]:
    """What floating-point results depend on, beside the code."""
    import jax

    try:
        facts = Path("/proc/cpuinfo").read_text()
    except OSError:
        facts = ""
    model = re.search(r"model name\s*: (.*)", facts)
    flags = re.search(r"flags\s*: (.*)", facts)
    return {
        "cpu": model[1] if model else platform.processor(),
        "vectors": sorted(re.findall(r"\b(?:avx|amx|fma)\w*", flags[1])) if flags else [],
        "cores": os.cpu_count(),
        "jax": jax.__version__,
        "python": ".".join(platform.python_version_tuple()[:2]),
    }


def _names(folder: Path) -> list[str]:
    """All files in a folder, except what only guards it while it is written."""
    found = (path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")
    return [path.relative_to(folder).as_posix() for path in found]


def _hashes(folder: Path, without: tuple[str, ...]) -> dict[str, str]:
    """The SHA-256 of each file by its name within ``folder``; of a manifest without the versions of
    what is installed here."""
    return {
        name: read_manifest(str((folder / name).parent)).fingerprint
        if Path(name).name == "manifest.json"
        else _hash(folder / name)
        for name in sorted(_names(folder))
        if Path(name).name not in without and Path(name).suffix not in _WEIGHTS
    }


def _each(folder: Path, pattern: str, describe: Callable[[Path], Any]) -> dict[str, Any]:
    return {str(path.relative_to(folder)): describe(path) for path in sorted(folder.glob(pattern))}


def _order() -> dict[str, Any]:
    """ "epoch source row" of all rows of some steps."""
    from trainer.data.order import RowOrder

    triples: dict[str, list[str]] = {}
    for name, options in _ORDERS.items():
        host, hosts = options.get("hosts", (0, 1))
        given = {name: value for name, value in options.items() if name != "hosts"}
        order = RowOrder(**given, seed=5, batch_size=8)
        triples |= {f"{name}, step {k}": _triples(order.rows(k, host, hosts)) for k in _STEPS}
    return triples


def _triples(columns: Any) -> list[str]:
    return [" ".join(map(str, row)) for row in np.stack(columns, 1).tolist()]


def _losses(folder: Path) -> dict[str, list[str]]:
    """The losses of all steps of each run, as ``repr`` writes them."""
    found = {}
    for path in sorted(folder.glob("*/metrics.jsonl")):
        lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
        for name in _LOSSES:
            if values := [repr(line[name]) for line in lines if name in line]:
                found[f"{path.parent.name}: {name}"] = values
    return found


def _describe_runs(folder: Path) -> dict[str, Any]:
    """The arrays of checkpoints and weights, and the very rows that the report looks at."""
    return {
        **_each(folder, "*/checkpoints/*.npz", _npz),
        **_each(folder, "*/*.h5", _hdf5),
        **_each(folder, "*/sample.npz", _hash),
        **_each(folder, "*/vocab.txt", _hash),
        **_each(folder, "*/metrics.jsonl", lambda path: sorted(json.loads(path.open().readline()))),
    }


def _fields(path: Path) -> list[str]:
    """What the last line of a jsonl file holds."""
    return sorted(json.loads(path.read_text("utf-8").splitlines()[-1]))


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _metadata(path: Path) -> dict[str, Any]:
    """All but the date."""
    return {k: v for k, v in json.loads(path.read_text("utf-8")).items() if k != "date_saved"}


def _line(name: str, shape: Any, dtype: Any) -> str:
    return f"{name} {list(shape)} {dtype}"


def _npz(path: Path) -> list[str]:
    with np.load(path, allow_pickle=False) as stored:
        # The record is text and holds times: its length is not fixed.
        names = sorted(name for name in stored.files if name != "record.json")
        return [_line(name, stored[name].shape, stored[name].dtype) for name in names]


def _safetensors(path: Path) -> list[str]:
    with open(path, "rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    header.pop("__metadata__", None)
    return sorted(_line(name, e["shape"], e["dtype"]) for name, e in header.items())


def _hdf5(path: Path) -> list[str]:
    import h5py

    found: list[str] = []

    def add(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            found.append(_line(name, item.shape, item.dtype))

    with h5py.File(path) as file:
        file.visititems(add)
    return sorted(found)
