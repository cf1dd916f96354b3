"""Choices of pretraining, one changed at a time, by what it learned and the classifier that comes of it.

``python -m tests.workflows.choices --data DATA/imdb --output OUTPUT [--choices base batch_32]`` from the
repository's root prints mean ± sd over ``--seeds``. Each seed is a pretraining of its own on the same
number of tokens of IMDB's text, labels unseen, then a fine-tuning on a quarter of the labelled reviews
that an eighth judges. Small on purpose, to tell choices apart in minutes. What is finished is not run
again: OUTPUT belongs to one set of data.
"""

from __future__ import annotations

import argparse
import copy
import json
from pathlib import Path
from typing import Any

from tabulate import tabulate

from tests.workflows.commands import describe, last_line, run_command

Settings = dict[str, dict[str, Any]]
BASE: Settings = {
    "vocab": {"vocab_size": 16000},
    "tokenize": {"seq_length": 512, "validation_fraction": 0.01},
    "pretrain": {
        "num_layers": 2,
        "num_heads": 2,
        "hidden_dim": 128,
        "intermediate_dim": 512,
        "dropout": 0,
        "dtype": "mixed_bfloat16",
        "batch_size": 8,
        "learning_rate": 0.001,
        "warmup_steps": 1000,
        "initial_positions": "sinusoidal",
        "mask_selection_rate": 0.2,
        "steps_per_execution": 10,
    },
    "finetune": {
        "epochs": 4,
        "learning_rate": 0.0003,
        "seq_length": 128,
        "dropout": 0.1,
        "dtype": "mixed_bfloat16",
    },
}
CHOICES: dict[str, Settings] = {
    "base": {},
    "normal_positions": {"pretrain": {"initial_positions": "normal"}},
    # Warmed up over as many tokens.
    "batch_32": {"pretrain": {"batch_size": 32, "warmup_steps": 250}},
    "rows_of_128": {"tokenize": {"seq_length": 128}, "pretrain": {"batch_size": 32}},
    "vocab_8000": {"vocab": {"vocab_size": 8000}},
    "mask_15": {"pretrain": {"mask_selection_rate": 0.15}},
    "mask_30": {"pretrain": {"mask_selection_rate": 0.3}},
    "whole_word": {"pretrain": {"strategy": "whole_word"}},
    "muon": {"pretrain": {"optimizer": "muon"}},
    "muon_002": {"pretrain": {"optimizer": "muon", "learning_rate": 0.002}},
    "dropout_10": {"pretrain": {"dropout": 0.1}},
    "rate_0005": {"pretrain": {"learning_rate": 0.0005}},
    "rate_002": {"pretrain": {"learning_rate": 0.002}},
    "rate_constant": {"pretrain": {"schedule": "constant"}},
    "rate_cosine": {"pretrain": {"schedule": "cosine"}},
    "layers_4": {"pretrain": {"num_layers": 4}},
    "hidden_256": {"pretrain": {"hidden_dim": 256, "num_heads": 4, "intermediate_dim": 1024}},
    "documents_cut_to_fill": {"tokenize": {"packing": "full"}},
}
STAGES = {
    "vocab": "pipelines.vocab",
    "tokenize": "pipelines.tokenize",
    "pretrain": "trainer.pretrain",
    "export": "trainer.export",
    "finetune": "trainer.finetune",
}


def settings_of(choice: str, seed: int, options: argparse.Namespace) -> Settings:
    """The config of one run: all stages with inputs, outputs, seeds and the number of steps."""
    settings = copy.deepcopy(BASE)
    for stage, changes in CHOICES[choice].items():
        settings[stage].update(changes)
    data, output = Path(options.data), Path(options.output)
    texts = [str(data / "*.jsonl.gz")] if not options.few else [str(data / "train-00000*")]
    vocab = output / f"vocab_{settings['vocab']['vocab_size']}"
    length = settings["tokenize"]["seq_length"]
    packing = settings["tokenize"].get("packing", "documents")
    rows = output / f"rows_{settings['vocab']['vocab_size']}_{length}_{packing}"
    run = output / choice / f"seed_{seed}"
    steps = round(options.tokens / length / settings["pretrain"]["batch_size"])
    settings["vocab"] |= {"input": texts, "output": str(vocab)}
    settings["tokenize"] |= {"input": texts, "vocab": str(vocab), "output": str(rows)}
    settings["pretrain"] |= {
        "data": [str(rows)],
        "output": str(run / "pretrain"),
        "steps": steps,
        "seed": seed,
        "eval_steps": 0,
    }
    settings["export"] = {"run": str(run / "pretrain"), "output": str(run / "preset")}
    settings["finetune"] |= {
        "preset": str(run / "preset"),
        "train": [str(data / f"train-0000{i}-of-00008.jsonl.gz") for i in (0, 1)],
        "validation": [str(data / "train-00002-of-00008.jsonl.gz")],
        "output": str(run / "finetune"),
        "seed": seed,
    }
    return settings


def run(choice: str, seed: int, options: argparse.Namespace) -> dict[str, float]:
    """Takes one run through all stages; returns its figures."""
    settings = settings_of(choice, seed, options)
    for stage, module in STAGES.items():
        run_command(module, stage, settings[stage])
    last = last_line(Path(settings["pretrain"]["output"]))
    tuned = json.loads(Path(settings["finetune"]["output"], "metrics.json").read_text())
    return {
        "seconds": last["seconds"],
        "bits": last["validation_bits_per_byte"],
        "masked": 100 * last["validation_accuracy"],
        "accuracy": 100 * tuned["accuracy"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--data", required=True, help="folder of train-*.jsonl.gz, unsup-*.jsonl.gz"
    )
    parser.add_argument("--output", required=True, help="a folder for all runs")
    parser.add_argument("--choices", nargs="+", choices=CHOICES, default=list(CHOICES))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--tokens", type=float, default=6e6, help="to pretrain on")
    parser.add_argument("--few", action="store_true", help="only a shard of text, for a trial")
    options = parser.parse_args()
    rows = []
    for choice in options.choices:
        found = [run(choice, seed, options) for seed in range(options.seeds)]
        shown = [describe([figures[name] for figures in found]) for name in found[0]]
        rows.append([choice, *shown])
        head = ["choice", "pretraining, s", "bits a byte, held out", "masked words right, %"]
        head += ["reviews right, %"]
        print(tabulate(rows, head, disable_numparse=True), flush=True)


if __name__ == "__main__":
    main()
