"""What ``trainer.finetune`` leaves behind: the preset, its figures, and the texts it was validated on.

Finished restarts are kept on disk until all are done: a killed command continues with the next.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from tabulate import tabulate

from pipelines.command.run import show
from pipelines.documents.labelled import Fields, LabelledText
from pipelines.records.checksums import CHECKSUMS, names_below
from pipelines.records.preset_folder import PRESET_FOLDER
from pipelines.storage import files
from pipelines.storage.array_file import read_arrays
from pipelines.storage.json_file import parse_json
from pipelines.storage.name_errors import naming
from pipelines.storage.replace_folder import publish_folder
from trainer.finetuning.config import FinetuneConfig
from trainer.finetuning.run import RunResult
from trainer.finetuning.scores import mean_and_spread, name_figure, show_figure
from trainer.finetuning.task import TASK_FILE, FinetunedTask

METRICS, RUNS, HISTORY = "metrics.json", "runs.json", "history.jsonl"
VALIDATION_TEXTS = "validation.jsonl"
FILES = (METRICS, RUNS, HISTORY, VALIDATION_TEXTS, CHECKSUMS)
_RESTARTS = "restarts.unfinished"


class FinishedRestarts:
    """Restarts under the folder ``output``, each a file of weights, outputs, figures and history.

    They are taken up only for the same options ``asked`` (except the number of restarts), the
    same ``inputs`` and the same backend.
    """

    def __init__(self, output: Path, asked: Mapping[str, Any], inputs: Any) -> None:
        import keras

        same = {name: value for name, value in asked.items() if name != "restarts"}
        identity = json.dumps([same, inputs, keras.config.backend()], sort_keys=True)
        self._key = hashlib.sha256(identity.encode()).hexdigest()
        self._folder = output / _RESTARTS

    def keep(self, restart: int, result: RunResult) -> None:
        """Writes the file of a restart, whole or not at all."""
        arrays: dict[str, Any] = {f"weight_{i}": w for i, w in enumerate(result.weights)}
        facts = {name: getattr(result, name) for name in ("seed", "epoch", "history", "figures")}
        about = np.array(json.dumps({"key": self._key, **facts}))
        self._folder.mkdir(exist_ok=True)
        with (
            files.publish(str(self._folder / f"{restart}.npz")) as temporary,
            open(temporary, "wb") as file,
        ):
            np.savez(file, about=about, outputs=result.outputs, **arrays)

    def find(self, restart: int) -> RunResult | None:
        """The result of a restart, or None where it is to be run."""
        path = self._folder / f"{restart}.npz"
        try:
            arrays = read_arrays(str(path))
            about = parse_json(str(arrays["about"]).encode(), str(path), "it is run again")
            if about.pop("key") != self._key:
                return None
            weights = [arrays[f"weight_{i}"] for i in range(len(arrays) - 2)]
            return RunResult(**about, outputs=arrays["outputs"], weights=weights)
        except (OSError, ValueError, KeyError, TypeError):
            return None  # There is none, or it is damaged: running it again gives the same.

    def remove(self) -> None:
        """Deletes all of them: they are published, or all shall run again."""
        shutil.rmtree(self._folder, ignore_errors=True)


def write_epoch(history: IO[str], restart: int, seed: int, epoch: dict[str, Any]) -> None:
    """Adds a line to the history, at once, so that it can be followed."""
    with naming(history.name):
        history.write(json.dumps({"restart": restart, "seed": seed, **epoch}) + "\n")
        history.flush()


def describe_runs(
    config: FinetuneConfig, results: list[RunResult], best: RunResult
) -> dict[str, Any]:
    """All restarts, their mean and spread, and which was published; shows them if there are several."""
    runs = [
        {"seed": r.seed, "best_epoch": r.epoch, "epochs": r.history[-1]["epoch"], **r.figures}
        for r in results
    ]
    described: dict[str, Any] = {"metric": config.chosen_metric, "runs": runs}
    if len(results) > 1:
        names = [name for name in best.figures if name != "examples"]
        spreads = {name: mean_and_spread([r.figures[name] for r in results]) for name in names}
        described["published_run"] = results.index(best)
        described["mean"] = {name: mean for name, (mean, _) in spreads.items()}
        described["standard_deviation"] = {name: spread for name, (_, spread) in spreads.items()}
        rows = [
            [r["seed"], r["best_epoch"], *(show_figure(name, r[name]) for name in names)]
            for r in runs
        ]
        means = [
            f"{show_figure(name, mean)} ± {show_figure(name, spread)}"
            for name, (mean, spread) in spreads.items()
        ]
        rows.append(["mean ± standard deviation", "", *means])
        header = ["seed", "epoch", *map(name_figure, names)]
        show(tabulate(rows, header, disable_numparse=True))
    return described


def publish_preset(output: Path, classifier: Any, preprocessor: Any, task: FinetunedTask) -> None:
    """Saves the preset, with the names of its classes and checksums, and shows it when it is whole."""
    classifier.preprocessor = preprocessor
    classifier.compile()  # A preset has no optimizer state.
    text = json.dumps(dataclasses.asdict(task), indent=1, ensure_ascii=False) + "\n"
    with publish_folder(str(output / PRESET_FOLDER)) as temporary:
        Path(temporary, TASK_FILE).write_text(text, "utf-8")
        classifier.save_to_preset(temporary)


def write_validation(path: Path, examples: Sequence[LabelledText], fields: Fields) -> None:
    """Writes the examples that were split off, as trainer.evaluate reads them."""
    lines = []
    for example in examples:
        row = {fields.text_field: example.text, fields.label_field: example.label}
        if example.pair is not None:
            row[fields.text_pair_field] = example.pair
        lines.append(json.dumps(row, ensure_ascii=False, default=str) + "\n")
    files.publish_bytes(str(path), "".join(lines).encode("utf-8", "replace"))


def list_made(output: Path) -> list[str]:
    """The files of a finished run, by their names in its folder; what others put there is not listed."""
    preset = f"{PRESET_FOLDER}/"
    return [n for n in names_below(str(output)) if n in FILES or n.startswith(preset)]


def remove_remains(output: Path) -> None:
    """Deletes what an interrupted run left, or the one that is overwritten."""
    for name in FILES:
        (output / name).unlink(missing_ok=True)
    shutil.rmtree(output / PRESET_FOLDER, ignore_errors=True)
