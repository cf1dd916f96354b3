"""The card of an exported model, ``README.md``: what it is, from which data, how good, how made.

It begins with the metadata that model hubs read (https://huggingface.co/docs/hub/model-cards), and names
no path of the machine that wrote it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from jinja2 import StrictUndefined, Template

from pipelines.records.manifest import Manifest

CARD = "README.md"
# The line of the card's example that an upload replaces.
PLACE = 'place = "path/to/this/folder"'
Library = Literal["keras-hub", "transformers"]

_PIPELINES = {"pretrain": "fill-mask", "finetune": "text-classification"}
# By how a figure's name ends; the first that fits.
_UNITS = {
    "pretrain": {
        "next_sentence_accuracy": "share of pairs",
        "accuracy": "share of masked tokens",
        "loss": "nats a masked token",
        "bits_per_byte": "bits a byte of text",
        "commonest": "share of masked tokens",
        "masks": "masked tokens",
    },
    "finetune": {
        "accuracy": "share of examples",
        "loss": "nats an example",
        "error": "label's unit, squared",
        "examples": "examples",
        **dict.fromkeys(("macro_f1", "matthews", "pearson", "spearman"), "1 at best"),
    },
}


def write_card(
    manifest: Manifest,
    run: Mapping[str, Any],
    *,
    library: Library,
    given: Mapping[str, Any],
    parameters: int,
    differences: Mapping[str, float],
) -> str:
    """The card as Markdown, from the template beside this file.

    Args:
        manifest, run: of the training run; ``run`` is what its run.json says of it.
        library: that the files are for.
        given: metadata that only the user knows: license, language, datasets.
        parameters: number of weights of the exported model.
        differences: what was compared after reloading -> greatest difference.
    """
    stage, config = manifest.stage, dict(manifest.config)
    metadata = {
        **given,
        "library_name": library,
        "pipeline_tag": _PIPELINES[stage],
        "tags": ["bert", "bertmill"],
    }
    units = _UNITS[stage]
    figures = {
        name: (value, next((units[end] for end in units if name.endswith(end)), ""))
        for name, value in manifest.facts["metrics"].items()
        if isinstance(value, int | float)
    }
    template = Template(
        Path(__file__).with_name("card.md.j2").read_text("utf-8"),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=StrictUndefined,
    )
    return template.render(
        metadata=_as_yaml(metadata),
        stage=stage,
        library=library,
        place=PLACE,
        facts=manifest.facts,
        figures=figures,
        counts=manifest.counts,
        fingerprint=manifest.fingerprint,
        data=config.pop("data", []),
        config=_as_yaml(config),
        run=run,
        parameters=parameters,
        differences=differences,
    )


def _as_yaml(values: Mapping[str, Any]) -> str:
    return yaml.safe_dump(dict(values), sort_keys=True, allow_unicode=True).rstrip()
