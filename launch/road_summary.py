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
from pipelines.records.preset_folder import PRESET_FOLDER
from trainer.finetuning.output import METRICS
from trainer.finetuning.task import TASK_FILE
from trainer.run_folder import REPORT


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


def _speed(run: Mapping[str, Any]) -> str:
    """A clause; empty where the start took most of the time."""
    speed = run["megabytes_per_second"]
    return f", {speed:.1f} MB/s" if speed >= 0.1 else ""


def _masked_words_right(manifest: Manifest) -> str:
    metrics = manifest.facts["metrics"]
    if "validation_accuracy" not in metrics:
        return ""
    right, masks = metrics["validation_accuracy"], metrics.get("validation_masks", 0)
    always = metrics.get("validation_commonest")
    beside = "" if always is None else f" (always the commonest: {always:.1%})"
    return f"\nmasked words right: {right:.1%} of {masks:,} held out{beside}"


def _exported(output: Path) -> str:
    consumer = "Transformers" if (output / "model.safetensors").exists() else "KerasHub"
    return f"for {consumer}, reloaded and compared"


def _finetuned(manifest: Manifest, output: Path) -> str:
    begun = "random weights" if manifest.config["from_scratch"] else "pretrained"
    metrics, count = manifest.facts["metrics"], manifest.counts["examples_validation"]
    if "accuracy" not in metrics:
        figures = ", ".join(f"{name} {value:.3f}" for name, value in metrics.items())
        return f"from {begun}: {figures} of {count:,} held out"
    confusion = json.loads((output / METRICS).read_text("utf-8"))["confusion"]
    always = max(map(sum, confusion)) / max(1, sum(map(sum, confusion)))
    right = f"accuracy {metrics['accuracy']:.1%} of {count:,} held out"
    return f"from {begun}: {right}\n(always the commonest class: {always:.1%})"


# What each stage made, from its manifest, its run.json and its folder.
_SENTENCES: dict[str, Callable[[Manifest, Mapping[str, Any], Path], str]] = {
    "docstrings": lambda manifest, run, _: (
        f"{manifest.counts['docstrings_corpus']:,} docstrings of "
        f"{len(manifest.facts['corpus_documents'])} packages, "
        f"{manifest.facts['corpus_bytes'] / 1e6:.1f} MB"
    ),
    "demo_task": lambda manifest, run, _: (
        f"{manifest.counts['train']:,} examples: {manifest.facts['kind']}"
    ),
    "vocab": lambda manifest, run, _: (
        f"{manifest.facts['size']:,} pieces from {manifest.counts['distinct_words']:,} words"
        f"{_speed(run)}"
    ),
    "tokenize": lambda manifest, run, _: (
        f"{manifest.counts['rows']:,} rows of {manifest.facts['seq_length']}, "
        f"{_rows_full(manifest):.1%} full{_speed(run)}"
    ),
    "mask": lambda manifest, run, _: (
        f"{manifest.counts['examples']:,} examples, {run['examples_per_second']:,.0f} examples/s"
    ),
    "pretrain": lambda manifest, run, _: (
        f"{manifest.counts['steps']:,} steps, {run['rows_per_second']:,.0f} rows/s"
        f"{_masked_words_right(manifest)}"
    ),
    "export": lambda manifest, run, output: _exported(output),
    "finetune": lambda manifest, run, output: _finetuned(manifest, output),
}


def summarize_road(config: RoadSummaryConfig, options: RunOptions) -> None:
    """Prints the table and what to do next. UserError if nothing is finished there."""
    rows = []
    made: dict[str, Path] = {}
    manifests = Path(config.folder).glob(f"*/{MANIFEST}")
    for path in sorted(manifests, key=lambda path: path.stat().st_mtime):
        output = path.parent
        manifest, run = read_manifest(str(output)), read_run(str(output))
        if manifest.stage in _SENTENCES:
            # As exact as the stages tell it themselves.
            seconds = f"{run['seconds']:,.1f} s" if "seconds" in run else ""
            sentence = _SENTENCES[manifest.stage](manifest, run, output)
            rows.append([manifest.stage, sentence, seconds, output])
            made.setdefault(f"{manifest.stage} {sentence.split(',')[0]}", output)
            made.setdefault(manifest.stage, output)
    if not rows:
        raise UserError(f"--folder: no finished stage below {config.folder}")
    print(tabulate(rows, ["stage", "what was made", "took", "where"], colalign=["left"] * 4))
    print("\nNext:")
    print(tabulate(_next(made), tablefmt="plain", colalign=["left"] * 2))


def _next(made: Mapping[str, Path]) -> list[tuple[str, str]]:
    """What to do, and how, with what was made."""
    lines = []
    if run := made.get("pretrain"):
        lines.append(("look at the training", f"{run / REPORT} in a browser"))
    if output := made.get("finetune"):
        lines.append(("ask the classifier", _predict(output)))
        load = "keras_hub.models.BertTextClassifier.from_preset"
        lines.append(("load it in KerasHub", f'{load}("{output / PRESET_FOLDER}")'))
    if folder := made.get("export for Transformers"):
        load = "transformers.AutoModel.from_pretrained"
        lines.append(("the encoder in Transformers", f'{load}("{folder}")'))
    changes = "more text, --vocab_size 16000 or 30522, pretraining with --budget 2h or longer"
    lines.append(("make a real model", f"{changes}: docs/domain-corpus.md"))
    return lines


def _predict(output: Path) -> str:
    """How to use the fine-tuned preset on a text of one's own."""
    task = json.loads((output / PRESET_FOLDER / TASK_FILE).read_text("utf-8"))
    command = f".venv/bin/python -m trainer.predict --preset {output}"
    if task["text_pair_field"]:
        fields = f"fields {task['text_field']} and {task['text_pair_field']}"
        return f"{command} --data YOUR.jsonl ({fields})"
    return f'{command} --texts "Your text here."'


if __name__ == "__main__":
    run_command(
        RoadSummaryConfig,
        summarize_road,
        stage="road_summary",
        module="launch.road_summary",
        publishes=False,
    )
