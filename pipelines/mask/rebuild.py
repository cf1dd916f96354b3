"""Single shards of a finished output of mask, made again from the rows."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection

from pipelines.command.parse import config_again
from pipelines.errors import UserError
from pipelines.mask.config import MaskStageConfig
from pipelines.mask.pipeline import MaskShard, plan_work
from pipelines.records.manifest import MANIFEST, Manifest, read_manifest
from pipelines.records.output_folder import read_record
from pipelines.storage import files
from pipelines.text.vocabulary_source import load_vocabulary


def rebuild_shards(
    folder: str, manifest: Manifest, names: Collection[str], inputs: tuple[str, ...], into: str
) -> None:
    """Writes the named shards of the output in ``folder`` to the local folder ``into``.

    ``inputs``: the one folder of rows; without, that which run.json names. Raises UserError where it
    is missing or holds other rows.
    """
    if len(inputs) > 1:
        raise UserError(f"--input: rows are in one folder; found {len(inputs)} names")
    source = inputs[0] if inputs else _recorded_input(folder)
    rows = read_manifest(source, ("tokenize",))
    if rows.fingerprint != manifest.facts.get("rows"):
        raise UserError(
            f"--repair: {source} holds other rows than those that {folder} was made from; name the "
            "folder of those with --input"
        )
    config = config_again(
        MaskStageConfig,
        "mask",
        manifest.config,
        files.join(folder, MANIFEST),
        input=source,
        output=into,
    )
    mask_shard = MaskShard(rows, config, load_vocabulary(source).vocabulary)
    for work in plan_work(rows, config):
        if work.name in names:
            deque(mask_shard.process(work), maxlen=0)


def _recorded_input(folder: str) -> str:
    """The folder of rows, as run.json names it."""
    try:
        return str(read_record(folder)["reads"]["input"])
    except (OSError, KeyError, TypeError):
        raise UserError(
            f"--repair: {folder} does not say what it was made from; name the rows with --input"
        ) from None
