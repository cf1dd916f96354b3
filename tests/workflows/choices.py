"""Options of pretraining, one changed at a time, by the bits a byte of held-out text they end at.

``python -m tests.workflows.choices --data DATA/imdb --output OUTPUT [--choices base mask_30]`` from the
repository's root. The base is ``configs/imdb_best.yaml`` with its two phases cut to ``--millions`` of
tokens (``budgets``), of another ``--size`` if you like; a choice changes options of one phase or both,
or their rows, and sees as many tokens. All are judged by the same masks of the same rows, whatever they
were trained on. What is finished is not run again.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from tabulate import tabulate

from tests.workflows.budgets import PHASES, Settings, home_of, make_rows, settings_of
from tests.workflows.commands import describe, last_line, run_command


def _both(**changes: Any) -> Settings:
    return dict.fromkeys(PHASES, changes)


CHOICES: dict[str, Settings] = {
    "base": {},
    "rate_001": _both(learning_rate=0.001),
    "rate_004": _both(learning_rate=0.004),
    "mask_15": _both(mask_selection_rate=0.15),
    "mask_30": _both(mask_selection_rate=0.3),
    "mask_40": _both(mask_selection_rate=0.4),
    "mask_30_then_15": {
        "pretrain_128": {"mask_selection_rate": 0.3},
        "pretrain": {"mask_selection_rate": 0.15},
    },
    "whole_word": _both(strategy="whole_word"),
    "cosine": {"pretrain": {"schedule": "cosine"}},
    "dropout_10": _both(dropout=0.1),
    "decay_10": _both(weight_decay=0.1),
    "normal_positions": {"pretrain_128": {"initial_positions": "normal"}},
    "batch_grows": {"pretrain_128": {"batch_size": 16}, "pretrain": {"batch_size": 32}},
    "rows_64": {"tokenize_128": {"seq_length": 64}, "pretrain_128": {"batch_size": 64}},
}


def choice_settings(choice: str, seed: int, options: argparse.Namespace) -> Settings:
    """The config of one run, and in ``pretrain_judge`` that of a run which learns nothing from there."""
    run = f"{options.size}:muon:{options.millions}"
    home = home_of(f"{options.size}/{choice}", seed, options)
    settings = settings_of(run, home, seed, options)
    last = settings["pretrain"]
    settings["pretrain_judge"] = last | {
        "initial_run": last["output"],
        "output": str(Path(last["output"]).with_name("judge")),
        "steps": 10,
        "warmup_steps": 0,
        "learning_rate": 1e-12,
        "seed": 0,
    }
    tokens = {name: settings[name]["steps"] * _tokens_of_step(settings, name) for name in PHASES}
    for stage, changes in CHOICES[choice].items():
        settings[stage] |= changes
        if stage in PHASES.values():
            settings[stage]["output"] = str(home / Path(settings[stage]["output"]).name)
    for phase, rows in PHASES.items():
        settings[phase]["data"] = [settings[rows]["output"]]
        settings[phase]["steps"] = tokens[phase] // _tokens_of_step(settings, phase)
    return settings


def _tokens_of_step(settings: Settings, phase: str) -> int:
    return int(settings[phase]["batch_size"] * settings[PHASES[phase]]["seq_length"])


def run(choice: str, seed: int, options: argparse.Namespace) -> dict[str, float]:
    """Takes one run through its phases and judges it; returns its figures."""
    settings = choice_settings(choice, seed, options)
    make_rows(settings)
    for stage in (*PHASES, "pretrain_judge"):
        run_command("trainer.pretrain", stage, settings[stage])
    judged = last_line(Path(settings["pretrain_judge"]["output"]))
    return {
        "seconds": sum(last_line(Path(settings[phase]["output"]))["seconds"] for phase in PHASES),
        "bits": judged["validation_bits_per_byte"],
        "masked": 100 * judged["validation_accuracy"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--data", required=True, help="folder imdb, of train-*.jsonl.gz, unsup-*.jsonl.gz"
    )
    parser.add_argument("--output", required=True, help="a folder for all runs")
    parser.add_argument("--choices", nargs="+", choices=CHOICES, default=list(CHOICES))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--size", default="2x256", help="layers x width")
    parser.add_argument("--millions", type=float, default=8, help="of tokens to pretrain on")
    options = parser.parse_args()
    options.restarts = 1
    rows = []
    for choice in options.choices:
        found = [run(choice, seed, options) for seed in range(options.seeds)]
        shown = [describe([figures[name] for figures in found]) for name in found[0]]
        rows.append([choice, *shown])
        head = ["choice", "pretraining, s", "bits a byte, held out", "masked words right, %"]
        print(tabulate(rows, head, disable_numparse=True), flush=True)


if __name__ == "__main__":
    main()
