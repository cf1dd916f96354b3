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

from pipelines.command import RunOptions, run_command
from pipelines.errors import UserError
from pipelines.records.manifest import MANIFEST, Manifest, read_manifest, read_run


@dataclass(frozen=True, kw_only=True)
class RoadSummaryConfig:
    """Show what the finished stages below a folder made, where, how fast and how well."""

    folder: str
    """The folder that holds the stages' outputs, such as runs/quickstart."""


Run = Mapping[str, Any]


def _docstrings(manifest: Manifest, run: Run) -> str:
    counts = manifest.counts
    return (
        f"{counts['docstrings_corpus']:,} docstrings of {len(manifest.facts['corpus_documents'])} "
        f"packages, {manifest.facts['corpus_bytes'] / 1e6:.1f} MB"
    )


def _demo_task(manifest: Manifest, run: Run) -> str:
    return f"{manifest.counts['train']:,} examples: {manifest.facts['kind']}"


def _vocab(manifest: Manifest, run: Run) -> str:
    return (
        f"{manifest.facts['size']:,} pieces from {manifest.counts['distinct_words']:,} words, "
        f"{run['megabytes_per_second']:.1f} MB/s"
    )


def _tokenize(manifest: Manifest, run: Run) -> str:
    counts, length = manifest.counts, manifest.facts["seq_length"]
    fill = (counts["tokens_out"] + counts["special_tokens"]) / (counts["rows"] * length)
    return (
        f"{counts['rows']:,} rows of {length}, {fill:.1%} full, "
        f"{run['megabytes_per_second']:.1f} MB/s"
    )


def _mask(manifest: Manifest, run: Run) -> str:
    return f"{manifest.counts['examples']:,} examples, {run['examples_per_second']:,} a second"


def _pretrain(manifest: Manifest, run: Run) -> str:
    metrics = manifest.facts["metrics"]
    text = f"{manifest.counts['steps']:,} steps, {run['rows_per_second']:,.0f} rows/s"
    if "validation_accuracy" in metrics:
        text += f", masked words right: {metrics['validation_accuracy']:.1%} (held out)"
    return text


def _export(manifest: Manifest, run: Run) -> str:
    return "preset for KerasHub and Transformers, reloaded and compared"


def _finetune(manifest: Manifest, run: Run) -> str:
    start = "random weights" if manifest.config["from_scratch"] else "pretrained"
    return f"from {start}: {_describe_metrics(manifest.facts['metrics'])} (held out)"


def _describe_metrics(metrics: Run) -> str:
    if "accuracy" in metrics:
        return f"accuracy {metrics['accuracy']:.1%}"
    return ", ".join(f"{name} {value:.3f}" for name, value in metrics.items())


_SENTENCES: dict[str, Callable[[Manifest, Run], str]] = {
    "docstrings": _docstrings,
    "demo_task": _demo_task,
    "vocab": _vocab,
    "tokenize": _tokenize,
    "mask": _mask,
    "pretrain": _pretrain,
    "export": _export,
    "finetune": _finetune,
}


def summarize_road(config: RoadSummaryConfig, options: RunOptions) -> None:
    """Prints the table and the next command to type. UserError if nothing is finished there."""
    rows = []
    folder = Path(config.folder)
    found = sorted(folder.glob(f"*/{MANIFEST}"), key=lambda path: path.stat().st_mtime)
    for path in found:
        manifest = read_manifest(str(path.parent))
        run = read_run(str(path.parent))
        if manifest.stage in _SENTENCES:
            seconds = f"{run['seconds']:,.0f} s" if "seconds" in run else ""
            sentence = _SENTENCES[manifest.stage](manifest, run)
            rows.append([manifest.stage, sentence, seconds, str(path.parent)])
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
