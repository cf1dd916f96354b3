"""What more pretraining is worth: one recipe at several sizes, optimizers and budgets of tokens.

``python -m tests.workflows.budgets --data DATA/imdb --output OUTPUT [--runs 2x256:muon:32 …]`` from
the repository's root. A run LAYERSxWIDTH:OPTIMIZER:MILLIONS is ``configs/imdb_best.yaml`` with that
model and optimizer and its two phases cut or stretched to as many million tokens (the config's own are
116); 0 of them: random weights. Each is fine-tuned as the config says, ``--restarts`` times, always
judged by the same reviews. What is finished is not run again. Seconds are comparable only where
``--jobs`` is 1.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

import yaml
from tabulate import tabulate

from tests.workflows.commands import describe, last_line, run_command, runs_at_once

Settings = dict[str, dict[str, Any]]
CONFIG = "configs/imdb_best.yaml"
# Of the tokens that the first phase sees, as long as they are fewer than the config's.
_SHORT_ROWS_SHARE = 0.3
_RATES = {"muon": 0.002, "adamw": 0.001}
_DEFAULT = ("2x256:muon:0", *(f"2x256:muon:{n}" for n in (8, 16, 32, 116)), "2x256:adamw:32")
_SHARED = {
    "vocab": "pipelines.vocab",
    "tokenize_128": "pipelines.tokenize",
    "tokenize": "pipelines.tokenize",
}
# Each and its rows.
PHASES = {"pretrain_128": "tokenize_128", "pretrain": "tokenize"}


def settings_of(run: str, home: Path, seed: int, options: argparse.Namespace) -> Settings:
    """The config of one run, whose outputs are in ``home``; its vocabulary and rows are shared."""
    size, optimizer, millions = run.split(":")
    layers, width = map(int, size.split("x"))
    os.environ["BERTMILL_DATA"] = str(Path(options.data).parent)
    settings: Settings = yaml.safe_load(os.path.expandvars(Path(CONFIG).read_text()))
    for stage, values in settings.items():
        folder = Path(options.output) if stage in _SHARED else home
        for name in ("output", "vocab", "run", "preset", "initial_run"):
            if name in values:
                values[name] = str(folder / Path(values[name]).name)
        values.pop("hf_output", None)
    model = {
        "num_layers": layers,
        "hidden_dim": width,
        "num_heads": width // 64,
        "intermediate_dim": 4 * width,
    }
    for (stage, rows), steps in zip(
        PHASES.items(), phase_steps(settings, float(millions)), strict=True
    ):
        phase = settings[stage]
        phase |= {
            "data": [settings[rows]["output"]],
            "steps": steps,
            "warmup_steps": min(phase["warmup_steps"], steps // 2),
            "optimizer": optimizer,
            "learning_rate": _RATES[optimizer],
            "seed": seed,
            "eval_steps": 0,
        }
    settings["pretrain_128"] |= model
    for stage in ("tokenize_128", "tokenize"):
        settings[stage]["vocab"] = settings["vocab"]["output"]
    settings["finetune"] |= {"from_scratch": not float(millions), "restarts": options.restarts}
    return settings


def phase_steps(settings: Settings, millions: float) -> list[int]:
    """Of both phases, at least 10. The first sees three tenths of the tokens, at most the config's."""
    short, long = (
        settings[phase]["batch_size"] * settings[rows]["seq_length"]
        for phase, rows in PHASES.items()
    )
    first = round(_SHORT_ROWS_SHARE * 1e6 * millions / short)
    first = min(first, settings["pretrain_128"]["steps"])
    return [max(10, first), max(10, round((1e6 * millions - first * short) / long))]


def home_of(name: str, seed: int, options: argparse.Namespace) -> Path:
    """The folder of one run."""
    return Path(options.output, name.replace(":", "_"), f"seed_{seed}")


def make_rows(settings: Settings) -> None:
    """The vocabulary and the rows that all runs share."""
    for stage, module in _SHARED.items():
        run_command(module, stage, settings[stage])


def run_one(run: str, seed: int, options: argparse.Namespace) -> dict[str, list[float]]:
    """Takes one run through all stages; returns its figures."""
    settings = settings_of(run, home_of(run, seed, options), seed, options)
    for stage in (*PHASES, "export", "finetune"):
        run_command(f"trainer.{stage.split('_')[0]}", stage, settings[stage])
    runs = json.loads(Path(settings["finetune"]["output"], "runs.json").read_text())
    accuracies = [tuned["accuracy"] for tuned in runs["runs"]]
    if not float(run.split(":")[2]):  # whose few steps fine-tuning does not begin with
        return {"seconds": [], "bits": [], "masked": [], "accuracy": accuracies}
    lines = [last_line(Path(settings[phase]["output"])) for phase in PHASES]
    return {
        "seconds": [sum(line["seconds"] for line in lines)],
        "bits": [lines[-1]["validation_bits_per_byte"]],
        "masked": [lines[-1]["validation_accuracy"]],
        "accuracy": accuracies,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument(
        "--data", required=True, help="folder imdb, of train-*.jsonl.gz, unsup-*.jsonl.gz"
    )
    parser.add_argument("--output", required=True, help="a folder for all runs")
    parser.add_argument("--runs", nargs="+", default=_DEFAULT)
    parser.add_argument("--seeds", type=int, default=2, help="pretrainings of each run")
    parser.add_argument("--restarts", type=int, default=3, help="fine-tunings of each preset")
    parser.add_argument("--jobs", type=int, default=1, help="runs at once")
    options = parser.parse_args()
    make_rows(settings_of(options.runs[0], Path(options.output), 0, options))
    rows = []
    with runs_at_once(options.jobs) as pool:
        found = {
            run: [pool.submit(run_one, run, seed, options) for seed in range(options.seeds)]
            for run in options.runs
        }
        for run, each in found.items():
            figures = [one.result() for one in each]
            shown = [run]
            for name, scale in (("seconds", 1), ("bits", 1), ("masked", 100), ("accuracy", 100)):
                values = [value for one in figures for value in one[name]]
                shown.append(describe(values, scale) if values else "")
            rows.append(shown)
            head = ["run", "pretraining, s", "bits a byte", "masked words right, %"]
            print(tabulate(rows, [*head, "reviews right, %"], disable_numparse=True), flush=True)


if __name__ == "__main__":
    main()
