"""What the stages below one folder made, as one short table: the end of the quickstart.

Reads the manifests, run.json and metrics that they left; computes nothing itself.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tabulate import tabulate

from pipelines.command.run import RunOptions, run_command
from pipelines.errors import UserError
from pipelines.records.manifest import MANIFEST, Manifest, read_manifest
from pipelines.records.output_folder import read_run


@dataclass(frozen=True, kw_only=True)
class RoadSummaryConfig:
    """Show what the finished stages below a folder made, where, how fast and how well."""

    folder: str
    """The folder that holds the stages' outputs, such as runs/quickstart."""


def _rows_full(manifest: Manifest) -> float:
    """The share of all positions in rows that hold a token."""
    counts = manifest.counts
    tokens = counts["tokens_out"] + counts["special_tokens"]
    return tokens / (counts["rows"] * manifest.facts["seq_length"])


def _masked_words_right(manifest: Manifest) -> str:
    metrics = manifest.facts["metrics"]
    if "validation_accuracy" not in metrics:
        return ""
    right, masks = metrics["validation_accuracy"], metrics.get("validation_masks", 0)
    return f", masked words right: {right:.1%} of {masks:,} held out"


def _scores(manifest: Manifest) -> str:
    metrics = manifest.facts["metrics"]
    if "accuracy" in metrics:
        return f"accuracy {metrics['accuracy']:.1%}"
    return ", ".join(f"{name} {value:.3f}" for name, value in metrics.items())


# What each stage made, from its manifest and its run.json.
_SENTENCES: dict[str, Callable[[Manifest, Mapping[str, Any]], str]] = {
    "docstrings": lambda manifest, run: (
        f"{manifest.counts['docstrings_corpus']:,} docstrings of "
        f"{len(manifest.facts['corpus_documents'])} packages, "
        f"{manifest.facts['corpus_bytes'] / 1e6:.1f} MB"
    ),
    "demo_task": lambda manifest, run: (
        f"{manifest.counts['train']:,} examples: {manifest.facts['kind']}"
    ),
    "vocab": lambda manifest, run: (
        f"{manifest.facts['size']:,} pieces from {manifest.counts['distinct_words']:,} words, "
        f"{run['megabytes_per_second']:.1f} MB/s"
    ),
    "tokenize": lambda manifest, run: (
        f"{manifest.counts['rows']:,} rows of {manifest.facts['seq_length']}, "
        f"{_rows_full(manifest):.1%} full, {run['megabytes_per_second']:.1f} MB/s"
    ),
    "mask": lambda manifest, run: (
        f"{manifest.counts['examples']:,} examples, {run['examples_per_second']:,.0f} examples/s"
    ),
    "pretrain": lambda manifest, run: (
        f"{manifest.counts['steps']:,} steps, {run['rows_per_second']:,.0f} rows/s"
        f"{_masked_words_right(manifest)}"
    ),
    "export": lambda manifest, run: "preset for KerasHub and Transformers, reloaded and compared",
    "finetune": lambda manifest, run: (
        f"from {'random weights' if manifest.config['from_scratch'] else 'pretrained'}: "
        f"{_scores(manifest)} of {manifest.counts['examples_validation']:,} held out"
    ),
}


def summarize_road(config: RoadSummaryConfig, options: RunOptions) -> None:
    """Prints the table and the next command to type. UserError if nothing is finished there."""
    rows = []
    manifests = Path(config.folder).glob(f"*/{MANIFEST}")
    for path in sorted(manifests, key=lambda path: path.stat().st_mtime):
        output = str(path.parent)
        manifest, run = read_manifest(output), read_run(output)
        if manifest.stage in _SENTENCES:
            # As exact as the stages tell it themselves.
            seconds = f"{run['seconds']:,.1f} s" if "seconds" in run else ""
            sentence = _SENTENCES[manifest.stage](manifest, run)
            rows.append([manifest.stage, sentence, seconds, output])
    if not rows:
        raise UserError(f"--folder: no finished stage below {config.folder}")
    print(tabulate(rows, ["stage", "what was made", "took", "where"], colalign=["left"] * 4))
    presets = [row[3] for row in rows if row[0] == "finetune"]
    if presets:
        print(f"\nNext: {_next_command(Path(presets[0]))}")


def _next_command(output: Path) -> str:
    """How to use the fine-tuned preset on a text of one's own."""
    task = json.loads((output / "preset" / "bertmill_task.json").read_text("utf-8"))
    if task["text_pair_field"]:
        return (
            f".venv/bin/python -m trainer.predict --preset {output} --data YOUR.jsonl "
            f"(fields {task['text_field']} and {task['text_pair_field']})"
        )
    return f'.venv/bin/python -m trainer.predict --preset {output} --texts "Your text here."'


if __name__ == "__main__":
    run_command(
        RoadSummaryConfig,
        summarize_road,
        stage="road_summary",
        module="launch.road_summary",
        publishes=False,
    )
