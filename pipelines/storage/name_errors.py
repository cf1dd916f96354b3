"""Errors of writing that name the file: Python's name none, or a temporary one, and HDF5 and ArrayRecord
say in words alone what the system refused."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

# What a disk refuses.
_REFUSALS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)


@contextmanager
def naming(path: str, temporary: str = "") -> Iterator[None]:
    """Raises what keeps the block from writing as an OSError that names ``path``, in place of its
    ``temporary`` name or of none."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        number = getattr(error, "errno", None)
        if number is None:
            number = next((n for n in _REFUSALS if os.strerror(n) in str(error)), None)
        named = str(getattr(error, "filename", None) or "")
        inside = bool(temporary) and named.startswith(temporary)
        if number is None or not (inside or (not named and number in _REFUSALS)):
            raise
        raise OSError(number, os.strerror(number), f"{path}{named[len(temporary) :]}") from None
