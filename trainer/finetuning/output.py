"""What ``trainer.finetune`` leaves behind: the preset, its figures, and the texts it was judged by."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

from tabulate import tabulate

from pipelines import files
from pipelines.documents.labelled import Fields, LabelledTexts
from trainer.finetuning.config import FinetuneConfig
from trainer.finetuning.run import RunResult
from trainer.finetuning.scores import mean_and_spread
from trainer.finetuning.task import PRESET_FOLDER, TASK_FILE, FinetunedTask

METRICS, RUNS, HISTORY = "metrics.json", "runs.json", "history.jsonl"
VALIDATION_TEXTS = "validation.jsonl"
_UNFINISHED_PRESET = "preset.unfinished"


def describe_runs(
    config: FinetuneConfig, results: list[RunResult], best: RunResult
) -> dict[str, Any]:
    """All restarts, their mean and spread, and which was published; shows them if there are several."""
    runs = [
        {"seed": r.seed, "best_epoch": r.epoch, "epochs": r.epochs, **r.figures} for r in results
    ]
    described: dict[str, Any] = {"metric": config.chosen_metric, "runs": runs}
    if len(results) > 1:
        names = [name for name in best.figures if name != "examples"]
        described["published_run"] = results.index(best)
        described["mean"], described["standard_deviation"] = {}, {}
        for name in names:
            mean, spread = mean_and_spread([result.figures[name] for result in results])
            described["mean"][name], described["standard_deviation"][name] = mean, spread
        rows = [[r["seed"], r["best_epoch"], *(f"{r[name]:.4f}" for name in names)] for r in runs]
        mean_row = [
            f"{described['mean'][n]:.4f} ± {described['standard_deviation'][n]:.4f}" for n in names
        ]
        rows.append(["mean ± sd", "", *mean_row])
        print(tabulate(rows, ["seed", "epoch", *names], disable_numparse=True))
    return described


def publish_preset(output: Path, classifier: Any, preprocessor: Any, task: FinetunedTask) -> None:
    """Saves the preset, with the names of its classes, and shows it only when it is whole."""
    unfinished = output / _UNFINISHED_PRESET
    classifier.preprocessor = preprocessor
    classifier.compile()  # The optimizer's state is no part of a preset.
    classifier.save_to_preset(str(unfinished))
    text = json.dumps(dataclasses.asdict(task), indent=1, ensure_ascii=False) + "\n"
    (unfinished / TASK_FILE).write_text(text, "utf-8")
    unfinished.rename(output / PRESET_FOLDER)


def remove_remains(output: Path) -> None:
    """Of an interrupted run, or of the one that is overwritten."""
    for name in (METRICS, RUNS, HISTORY, VALIDATION_TEXTS):
        (output / name).unlink(missing_ok=True)
    for name in (PRESET_FOLDER, _UNFINISHED_PRESET):
        shutil.rmtree(output / name, ignore_errors=True)


def write_validation(path: Path, data: LabelledTexts, fields: Fields) -> None:
    """Writes the examples that were split off, as trainer.evaluate reads them."""
    columns: dict[str, list[Any]] = {
        fields.text_field: data.texts,
        fields.label_field: data.labels or [],
    }
    if data.pairs is not None:
        columns[fields.text_pair_field] = data.pairs
    rows = ({name: values[i] for name, values in columns.items()} for i in range(len(data)))
    lines = [json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in rows]
    files.publish_bytes(str(path), "".join(lines).encode("utf-8", "replace"))
