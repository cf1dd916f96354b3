"""All six workflows of the KerasNLP guide on IMDB reviews, beside the guide's figures.

``python -m tests.workflows --data 'imdb/train-*.jsonl.gz' --preset PRESET [--limit 500] [--epochs 1]``
runs each in a process of its own and prints a table. The guide's figures are of the official test part
and Google's weights; ours of the tenth that is held out of the files named.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tabulate import tabulate

# Classifying comes after the workflow that makes its classifier.
GUIDE = {
    "finetune_pretrained": "0.8621 (1 epoch)",
    "classify": "",
    "finetune_cached": "0.8808 (at best)",
    "custom_frozen": "0.7742",
    "pretrain_backbone": "0.1417, loss 4.7913",
    "from_scratch": "0.8752 (at best)",
}


def run(name: str, arguments: list[str]) -> tuple[dict[str, float], float]:
    """The figures that a workflow prints, and its seconds."""
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", f"tests.workflows.{name}", *arguments],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env={"KERAS_BACKEND": "jax", **os.environ},
    )
    print(done.stdout, end="", flush=True)
    known = ("accuracy ", "masked accuracy ", "loss ", "pieces ")
    lines = [line.rsplit(" ", 1) for line in done.stdout.split("\n") if line.startswith(known)]
    return {key: float(value) for key, value in lines}, time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", nargs="+", required=True)
    parser.add_argument("--preset", required=True)
    parser.add_argument("--workflows", nargs="+", choices=GUIDE, default=list(GUIDE))
    parser.add_argument("--json", help="also write the figures to this file")
    options, rest = parser.parse_known_args()
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        classifier = str(Path(folder) / "classifier")
        for name in options.workflows:
            arguments = ["--data", *options.data, *rest, "--preset", options.preset]
            if name == "finetune_pretrained":
                arguments += ["--save", classifier]
            if name == "classify" and Path(classifier).exists():
                arguments[-1] = classifier
            print(f"== {name}", flush=True)
            found[name] = run(name, arguments)
    rows = [
        [name, ", ".join(f"{k} {v:.4g}" for k, v in figures.items()), GUIDE[name], f"{taken:.0f} s"]
        for name, (figures, taken) in found.items()
    ]
    print(tabulate(rows, ["workflow", "here", "KerasNLP guide", "took"], disable_numparse=True))
    if options.json:
        results = {name: {**figures, "seconds": taken} for name, (figures, taken) in found.items()}
        Path(options.json).write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
