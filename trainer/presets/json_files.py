"""The JSON files of presets, whoever wrote them."""

from __future__ import annotations

import json
import os
from typing import Any

from pipelines.errors import UserError


def read_json(path: str) -> dict[str, Any]:
    """A JSON object from a file; a UserError where it is none."""
    try:
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not readable as JSON ({error}); the preset is damaged") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected a JSON object; the preset is damaged")
    return content


def write_json(folder: str, name: str, content: dict[str, Any], **style: Any) -> None:
    """Writes a JSON object in a folder that is made where missing; ``style`` goes to ``json.dump``."""
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, name), "w", encoding="utf-8", newline="\n") as file:
        json.dump(content, file, **style)
