"""The card of an exported model, ``card.md``: what it is, from which data, how good, how made."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from jinja2 import StrictUndefined, Template

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
    """The card as Markdown, from the template beside this file.

    Args:
        manifest, run: of the training run; ``run`` is what its run.json says of it.
        parameters: number of weights of the exported model.
        differences: what was compared after reloading -> greatest difference.
        usage: Python lines that load the model.
    """
    config = dict(manifest.config)
    sources = config.pop("data", [])
    folders = run.get("data") or [""] * len(sources)
    template = Template(
        Path(__file__).with_name("card.md.j2").read_text("utf-8"),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=StrictUndefined,
    )
    return template.render(
        title=_TITLES[manifest.stage],
        facts=manifest.facts,
        counts=manifest.counts,
        fingerprint=manifest.fingerprint,
        config=yaml.safe_dump(config, sort_keys=True, allow_unicode=True).rstrip(),
        data=list(zip(folders, sources, strict=True)),
        run=run,
        parameters=parameters,
        differences=differences,
        usage=usage.rstrip(),
    )
