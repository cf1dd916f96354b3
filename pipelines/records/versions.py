"""The versions that decide which bytes a worker writes: of the tokenizer, of the record files with the
compression in them, and of Unicode, which comes with Python.

A manifest names them. They are no part of an output's identity: other versions may give the same bytes.
"""

from __future__ import annotations

import socket
import unicodedata
from collections.abc import Mapping
from importlib.metadata import version

from pipelines.errors import UserError

_PACKAGES = ("array-record", "nanotoken")


def deciding_versions() -> dict[str, str]:
    """Those of this process, by the name of the package."""
    return {
        **{name: version(name) for name in _PACKAGES},
        "unicode": unicodedata.unidata_version,
    }


def check_versions(expected: Mapping[str, str]) -> None:
    """Raises UserError unless this process has the versions of the one that started the run."""
    here = deciding_versions()
    for name, wanted in expected.items():
        if here.get(name) != wanted:
            raise UserError(
                f"a worker on {socket.gethostname()} has {name} {here.get(name)}, this run was started "
                f"with {wanted}: its shards may differ; install the same versions for all workers "
                "(requirements.lock)"
            )
