"""Shards of tokenize and mask made again, each alone and bit for bit, by the stage that made them.

They are made in a folder of their own, and take their places only when all of them are what the manifest
says: another input, or libraries that compress otherwise, change nothing.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence

from pipelines.beam.lean_import import import_beam
from pipelines.errors import UserError
from pipelines.records.manifest import Manifest
from pipelines.records.shards import ShardInfo, file_sha256
from pipelines.storage import files
from pipelines.storage.folder_lock import lock_folder


def repair_shards(
    folder: str, manifest: Manifest, shards: Sequence[ShardInfo], inputs: Sequence[str]
) -> None:
    """Puts these shards of an output back.

    ``inputs``: what the stage reads, where it is no longer at the paths in run.json. Raises UserError
    where the input is not the one that the output was made from; then nothing has changed.
    """
    if manifest.stage not in ("tokenize", "mask"):
        raise UserError(
            f"--repair: {folder} was written by stage {manifest.stage}; only shards of tokenize and "
            "mask can be made again one by one, so make the output again (--overwrite)"
        )
    import_beam(())
    if manifest.stage == "tokenize":
        from pipelines.tokenize.rebuild import rebuild_shards
    else:
        from pipelines.mask.rebuild import rebuild_shards
    lock_folder(folder)
    with files.temporary_folder(folder) as into:
        rebuild_shards(folder, manifest, {shard.name for shard in shards}, tuple(inputs), into)
        for shard in shards:
            made = os.path.join(into, shard.name)
            if not os.path.exists(made) or file_sha256(made) != shard.sha256:
                raise UserError(
                    f"--repair: {shard.name}, made again, is another than {folder} had; its input, or "
                    "the version of a library, must have changed. Nothing was replaced: name the "
                    "right input with --input, or make the output again (--overwrite)"
                )
        for shard in shards:
            with files.publish(files.join(folder, shard.name)) as temporary:
                shutil.move(os.path.join(into, shard.name), temporary)
