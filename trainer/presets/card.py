"""The card of an exported model, ``card.md``: what it is, from which data, how good, how made."""

from __future__ import annotations

from collections.abc import Mapping
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
    facts, config = manifest.facts, dict(manifest.config)
    model = facts.get("model", {})
    trained_on = config.pop("data", [])
    metrics = [
        (name.replace("_", " "), _figure(value)) for name, value in _flat(facts["metrics"]).items()
    ]
    lines = [
        f"# {_TITLES[manifest.stage]}",
        "",
        *_table(("", ""), [("parameters", f"{parameters:,}"), *_facts(model, facts)]),
        "",
        "```python",
        *usage.splitlines(),
        "```",
        "",
        "## Results",
        "",
        *_table(("metric", "value"), metrics),
        "",
        "## Training",
        "",
    ]
    if run.get("command"):
        lines += ["```bash", run["command"], "```", ""]
    lines += [
        *_table(
            ("count", ""), [(n.replace("_", " "), f"{v:,}") for n, v in manifest.counts.items()]
        ),
        "",
        "```yaml",
        *yaml.safe_dump(config, sort_keys=True, allow_unicode=True).splitlines(),
        "```",
        "",
    ]
    if trained_on:
        places = run.get("data") or [""] * len(trained_on)
        rows = [
            (place, entry["fingerprint"], entry["weight"] or "")
            for place, entry in zip(places, trained_on, strict=True)
        ]
        lines += [
            "## Data",
            "",
            *_table(("folder", "SHA-256 of its manifest.json", "weight"), rows),
            "",
        ]
    lines += [
        f"Run: SHA-256 of its manifest.json {manifest.fingerprint}"
        + "".join(
            f"; {name} {run[name]}" for name in ("backend", "device", "keras") if name in run
        ),
        "",
        "## Checked before publishing",
        "",
        "The files were loaded again and compared with the trained model on rows of its data.",
        "",
        *_table(
            ("outputs", "greatest difference"), [(n, f"{v:.1e}") for n, v in differences.items()]
        ),
        "",
    ]
    return "\n".join(lines)


def _facts(model: Mapping[str, Any], facts: Mapping[str, Any]) -> list[tuple[str, Any]]:
    rows = [(name.replace("_", " "), value) for name, value in model.items()]
    if "seq_length" in facts:
        rows.append(("trained on rows of", f"{facts['seq_length']} tokens ({facts['packing']})"))
        rows.append(("lowercase", str(facts["lowercase"]).lower()))
        rows.append(("strip accents", str(facts["strip_accents"]).lower()))
        rows.append(("SHA-256 of the vocabulary", facts["vocabulary"]["fingerprint"]))
    if "classes" in facts:
        rows.append(("classes", ", ".join(map(str, facts["classes"]))))
    return rows


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if isinstance(value, int | float)}


def _figure(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.6g}"


def _table(header: tuple[str, ...], rows: list[Any]) -> list[str]:
    lines = [header, ("---",) * len(header), *rows]
    return [f"| {' | '.join(str(cell) for cell in line)} |" for line in lines]
