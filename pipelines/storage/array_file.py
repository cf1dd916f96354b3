"""Files of named arrays as ``np.savez`` writes them, whoever wrote them: read whole, or not at all."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import UserError, one_line


def read_arrays(path: str) -> dict[str, NDArray[Any]]:
    """The arrays of a local file, by name. Raises UserError if it is damaged, and OSError."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            # We compress nothing: what is larger inside than outside is not from us.
            inside = sum(part.file_size for part in stored.zip.infolist())
            if inside > os.path.getsize(path):
                raise ValueError("compressed")
            return {name: np.asarray(stored[name]) for name in stored.files}
    except FileNotFoundError:
        raise
    # What zipfile and numpy raise for damaged bytes has no end: NotImplementedError, RuntimeError,
    # MemoryError, TokenError, struct.error, OSError without a number, …
    except Exception as error:
        raise UserError(f"{path} is damaged ({one_line(error)[:200]})") from None
