"""Where a preset lies: in the folder that is named or, in the output of fine-tuning, one below."""

from __future__ import annotations

from pipelines.errors import UserError
from pipelines.records.manifest import MANIFEST
from pipelines.storage import files

PRESET_FOLDER = "preset"
# Every preset has it, KerasHub's and Hugging Face's.
_CONFIG = "config.json"


def preset_folder(folder: str) -> str:
    """The preset itself, where the output of a fine-tuning run was named; else ``folder``.

    Raises UserError for an output that is not finished.
    """
    inner = files.join(folder, PRESET_FOLDER)
    if files.exists(files.join(folder, _CONFIG)) or not files.exists(files.join(inner, _CONFIG)):
        return folder
    if not files.exists(files.join(folder, MANIFEST)):
        raise UserError(f"{folder}: is not finished; run its trainer.finetune again")
    return inner
