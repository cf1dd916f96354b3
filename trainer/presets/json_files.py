"""Writing the JSON files of presets; ``pipelines.storage.json_file`` reads them."""

from __future__ import annotations

import json
import os
from typing import Any


def write_json(folder: str, name: str, content: dict[str, Any], **style: Any) -> None:
    """Writes a JSON object in a folder that is made where missing; ``style`` goes to ``json.dump``."""
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, name), "w", encoding="utf-8", newline="\n") as file:
        json.dump(content, file, **style)
