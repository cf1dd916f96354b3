"""All six workflows of the KerasNLP guide on IMDB reviews over seeds, beside the guide's figures.

``python -m tests.workflows --data 'imdb/train-*.jsonl.gz' --preset PRESET --output FOLDER [--seeds 3]
[--seq_length 256] [--dtype mixed_bfloat16]`` runs each in a process of its own and prints a table of
mean ± sd. The guide's figures are of the official test part and Google's weights, one run each; ours of
the tenth that is held out of the files named, as are those of two linear models below the table. What is
finished with the same options is not run again.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from tabulate import tabulate

from tests.workflows.linear import linear_scores
from tests.workflows.reviews import Options, load_reviews
from trainer.finetuning.scores import mean_and_spread

# Classifying comes after the workflow that makes its classifier.
GUIDE = {
    "finetune_pretrained": "0.8621 (1 epoch)",
    "classify": "",
    "finetune_cached": "0.8808 (at best)",
    "custom_frozen": "0.7742",
    "pretrain_backbone": "0.1417, loss 4.7913",
    "from_scratch": "0.8752 (at best)",
}
_KNOWN = ("accuracy ", "masked accuracy ", "loss ", "pieces ")


def run(name: str, arguments: list[str], result: Path) -> dict[str, float]:
    """The figures that a workflow prints, and its seconds; kept in ``result``."""
    if result.exists():
        done = json.loads(result.read_text())
        if done["arguments"] == arguments:
            return dict(done["figures"])
    began = time.perf_counter()
    shown = subprocess.run(
        [sys.executable, "-m", f"tests.workflows.{name}", *arguments],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env={"KERAS_BACKEND": "jax", **os.environ},
    ).stdout
    print(shown, end="", flush=True)
    lines = [line.rsplit(" ", 1) for line in shown.split("\n") if line.startswith(_KNOWN)]
    figures = {key: float(value) for key, value in lines}
    figures["seconds"] = time.perf_counter() - began
    result.write_text(json.dumps({"arguments": arguments, "figures": figures}, indent=1) + "\n")
    return figures


def describe(runs: list[dict[str, float]]) -> list[str]:
    """Two cells: mean ± sd of every figure, and the mean of the seconds."""
    each = {name: mean_and_spread([run[name] for run in runs]) for name in runs[0]}
    seconds, _ = each.pop("seconds")
    spreads = len(runs) > 1
    shown = [f"{name} {m:.4g}" + f" ± {sd:.2g}" * spreads for name, (m, sd) in each.items()]
    return [", ".join(shown), f"{seconds:.0f} s"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], allow_abbrev=False)
    parser.add_argument("--data", nargs="+", required=True)
    parser.add_argument("--preset", required=True)
    parser.add_argument("--output", required=True, help="a folder for figures and classifiers")
    parser.add_argument("--workflows", nargs="+", choices=GUIDE, default=list(GUIDE))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--limit", type=int, default=0, help="so many reviews; 0: all")
    options, rest = parser.parse_known_args()
    rest += ["--limit", str(options.limit)]
    folder = Path(options.output)
    folder.mkdir(parents=True, exist_ok=True)
    found: dict[str, list[dict[str, float]]] = {name: [] for name in options.workflows}
    for seed in range(options.seeds):
        classifier = folder / f"classifier-{seed}"
        for name in options.workflows:
            arguments = ["--data", *options.data, *rest, "--seed", str(seed)]
            if name == "finetune_pretrained":
                arguments += ["--save", str(classifier)]
            own = name == "classify" and classifier.exists()
            arguments += ["--preset", str(classifier) if own else options.preset]
            print(f"== {name}, seed {seed}", flush=True)
            found[name].append(run(name, arguments, folder / f"{name}-{seed}.json"))
        done = [[name, *describe(runs), GUIDE[name]] for name, runs in found.items()]
        head = ["workflow", f"here, seeds: {seed + 1}", "took", "KerasNLP guide"]
        print(tabulate(done, head, disable_numparse=True), flush=True)
    reviews = load_reviews(Options(options.data, limit=options.limit))
    split = (reviews.texts, reviews.labels, reviews.held_out_texts, reviews.held_out_labels)
    for name, scores in linear_scores(*split).items():
        print(f"{name}, a linear model of words and word pairs: accuracy {scores['accuracy']:.4g}")


if __name__ == "__main__":
    main()
