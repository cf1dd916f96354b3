"""Restarts of fine-tuning that are done, kept until all are: a killed command goes on with the next.

Each is a file of weights, outputs, figures and history. It is of use only to the same data, preset
and options (how many restarts there are to be aside) on the same backend.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pipelines import files
from trainer.finetuning.run import RunResult

_FOLDER = "restarts.unfinished"


class FinishedRestarts:
    """Those under the output folder ``output`` that were asked for with ``asked`` and ``inputs``."""

    def __init__(self, output: Path, asked: Mapping[str, Any], inputs: Any) -> None:
        import keras

        same = {name: value for name, value in asked.items() if name != "restarts"}
        identity = json.dumps([same, inputs, keras.config.backend()], sort_keys=True)
        self._key = hashlib.sha256(identity.encode()).hexdigest()
        self._folder = output / _FOLDER

    def keep(self, restart: int, result: RunResult, history: list[str]) -> None:
        """Writes the file of a restart, whole or not at all."""
        about = {
            "key": self._key,
            "seed": result.seed,
            "epoch": result.epoch,
            "epochs": result.epochs,
            "figures": result.figures,
            "history": history,
        }
        arrays: dict[str, Any] = {f"weight_{i}": w for i, w in enumerate(result.weights)}
        self._folder.mkdir(exist_ok=True)
        with (
            files.publish(str(self._folder / f"{restart}.npz")) as temporary,
            open(temporary, "wb") as file,
        ):
            np.savez(file, about=np.array(json.dumps(about)), outputs=result.outputs, **arrays)

    def find(self, restart: int) -> tuple[RunResult, list[str]] | None:
        """The result and the history of a restart, or None where it is to be run."""
        path = self._folder / f"{restart}.npz"
        try:
            with np.load(path, allow_pickle=False) as arrays:
                about = json.loads(str(arrays["about"]))
                if about.pop("key") != self._key:
                    return None
                history = about.pop("history")
                weights = [arrays[f"weight_{i}"] for i in range(len(arrays.files) - 2)]
                return RunResult(**about, outputs=arrays["outputs"], weights=weights), history
        except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile):
            return None  # None there, or damaged on the disk: the run gives the same once more.

    def remove(self) -> None:
        """Once all are published, or are to be run anew."""
        shutil.rmtree(self._folder, ignore_errors=True)
