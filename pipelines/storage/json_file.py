"""Small JSON files, whoever wrote them: manifests, configurations, records of runs.

Nothing in them is trusted: one that is too large or too deep, or holds no JSON object, is a UserError.
"""

from __future__ import annotations

import json
from typing import Any

from pipelines.errors import UserError
from pipelines.storage import files

# A manifest of 200,000 shards is smaller.
_MOST_BYTES = 64 << 20
_MOST_LEVELS = 32


def read_json(path: str, fix: str = "get the file again") -> dict[str, Any]:
    """The object in a file, local or remote.

    Raises UserError, which ends with ``fix``, if there is none; OSError if it cannot be read.
    """
    return parse_json(files.read_bytes(path, _MOST_BYTES), path, fix)


def parse_json(content: bytes, source: str, fix: str) -> dict[str, Any]:
    """The JSON object that is the whole content of ``source``. Raises UserError as ``read_json``."""
    problem = "not a JSON object"
    try:
        value = json.loads(content)
        if _is_deeper(value, _MOST_LEVELS):
            raise RecursionError
        if b"\\ud" in content.lower():  # Half of a character can be no name of a file.
            json.dumps(value, ensure_ascii=False).encode()
        if isinstance(value, dict):
            return value
    except RecursionError:
        problem = "nested too deeply"
    except ValueError as error:
        problem = f"not JSON ({' '.join(str(error).split())[:200]})"
    raise UserError(f"{source} is damaged: {problem}; {fix}")


def _is_deeper(value: Any, levels: int) -> bool:
    children = value.values() if isinstance(value, dict) else value
    if not isinstance(value, dict | list):
        return False
    return levels == 0 or any(_is_deeper(child, levels - 1) for child in children)
