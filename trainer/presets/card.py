"""The card of an exported model, ``card.md``: what it is, from which data, how good, how made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from pipelines.records.manifest import Manifest

_TITLES = {
    "pretrain": "BERT, pretrained with bertmill",
    "finetune": "BERT, fine-tuned with bertmill",
}


def write_card(
    manifest: Manifest,
    run: Mapping[str, Any],
    *,
    parameters: int,
    differences: Mapping[str, float],
    usage: str,
) -> str:
    """The card as Markdown.

    Args:
        manifest, run: of the training run; ``run`` is what its run.json says of it.
        parameters: number of weights of the exported model.
        differences: what was compared after reloading -> greatest difference.
        usage: Python lines that load the model.
    """
    config = dict(manifest.config)
    trained_on = config.pop("data", [])
    numbers = {k: v for k, v in manifest.facts["metrics"].items() if isinstance(v, int | float)}
    metrics = [(_words(name), _figure(value)) for name, value in numbers.items()]
    counts = [(_words(name), f"{count:,}") for name, count in manifest.counts.items()]
    blocks = [
        f"# {_TITLES[manifest.stage]}",
        _table(("", ""), [("parameters", f"{parameters:,}"), *_describe_model(manifest.facts)]),
        _code("python", usage),
        "## Results",
        _table(("metric", "value"), metrics),
        "## Training",
    ]
    if run.get("command"):
        blocks.append(_code("bash", run["command"]))
    blocks += [
        _table(("count", ""), counts),
        _code("yaml", yaml.safe_dump(config, sort_keys=True, allow_unicode=True)),
    ]
    if trained_on:
        folders = run.get("data") or [""] * len(trained_on)
        rows = [
            (folder, entry["fingerprint"], entry["weight"] or "")
            for folder, entry in zip(folders, trained_on, strict=True)
        ]
        header = ("folder", "SHA-256 of its manifest.json", "weight")
        blocks += ["## Data", _table(header, rows)]
    made_with = [f"; {name} {run[name]}" for name in ("backend", "device", "keras") if name in run]
    blocks += [
        f"Run: SHA-256 of its manifest.json {manifest.fingerprint}{''.join(made_with)}",
        "## Checked before publishing",
        "The files were loaded again and compared with the trained model on rows of its data.",
        _table(
            ("outputs", "greatest difference"), [(n, f"{v:.1e}") for n, v in differences.items()]
        ),
    ]
    return "\n\n".join(blocks) + "\n"


def _describe_model(facts: Mapping[str, Any]) -> list[tuple[str, Any]]:
    rows = [(_words(name), value) for name, value in facts.get("model", {}).items()]
    if "seq_length" in facts:
        rows += [
            ("trained on rows of", f"{facts['seq_length']} tokens ({facts['packing']})"),
            ("lowercase", str(facts["lowercase"]).lower()),
            ("strip accents", str(facts["strip_accents"]).lower()),
            ("SHA-256 of the vocabulary", facts["vocabulary"]["fingerprint"]),
        ]
    if "classes" in facts:
        rows.append(("classes", ", ".join(map(str, facts["classes"]))))
    return rows


def _words(name: str) -> str:
    return name.replace("_", " ")


def _figure(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.6g}"


def _code(language: str, text: str) -> str:
    return f"```{language}\n{text.rstrip()}\n```"


def _table(header: tuple[str, ...], rows: Iterable[tuple[Any, ...]]) -> str:
    lines = [header, ("---",) * len(header), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)
