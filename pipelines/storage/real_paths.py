"""Where paths really lead: one place has many names, through links, ``X/.`` or ``~``."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterable, Mapping

from pipelines.errors import UserError
from pipelines.records.manifest import MANIFEST
from pipelines.storage import files


def real_path(path: str) -> str:
    """The one name of a place, whether there is anything or not."""
    if files.is_remote(path):
        scheme, rest = path.split("://", 1)
        return f"{scheme}://{posixpath.normpath(rest)}"
    return os.path.realpath(os.path.expanduser(path))


def is_inside(path: str, folder: str) -> bool:
    """True for ``folder`` and all below it; both are real paths."""
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def refuse_overlap(output: str, reads: Mapping[str, Iterable[str]], flag: str = "output") -> None:
    """Raises UserError where writing to ``output`` would destroy what is read, or be read with it.

    ``reads``: by their flags the paths that are read; a folder stands for all in it, unless it has a
    manifest, which names what is read there. Names that are no paths are passed over.
    """
    target = real_path(output)
    for name, paths in reads.items():
        for path in paths:
            source = real_path(path.split("**")[0])
            if not files.is_remote(source) and not os.path.exists(source):
                continue
            if is_inside(source, target):
                raise UserError(
                    f"--{flag}: {output} is or holds {path}, which --{name} reads; choose another"
                )
            if is_inside(target, source) and not files.exists(files.join(source, MANIFEST)):
                raise UserError(
                    f"--{flag}: {output} lies in {path}, all of which --{name} reads; choose another"
                )
