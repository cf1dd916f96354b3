"""TensorFlow without the lines that it prints when it is imported, whoever imports it.

Keras may do so on any backend. The lines come from C++ before TensorFlow reads the environment
variable that should silence them (2.21), so standard error is held back meanwhile; what is not
TensorFlow's, such as the lines of other threads, is written after it.
"""

from __future__ import annotations

import contextlib
import importlib.abc
import importlib.machinery
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from types import ModuleType
from typing import Any

_NAME = "tensorflow"
_START_UP = re.compile(
    rb"(WARNING: All log messages before absl|[IWE]\d{4} \d\d:\d\d:"
    rb"|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+: [IWE] |To enable the following instructions:).*\n?"
)


def quiet_tensorflow() -> None:
    """Silences TensorFlow's import in this process, if it is still to come."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


class _Finder(importlib.abc.MetaPathFinder):
    """Finds TensorFlow where Python would, with a loader that is quiet."""

    def find_spec(self, fullname: str, path: Any, target: ModuleType | None = None) -> Any:
        spec = None
        if fullname == _NAME:
            spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, importlib.machinery.SourceFileLoader):
            spec.loader = _Loader(spec.loader.name, spec.loader.path)
        return spec


class _Loader(importlib.machinery.SourceFileLoader):
    def exec_module(self, module: ModuleType) -> None:
        with _held_back():
            super().exec_module(module)


@contextlib.contextmanager
def _held_back() -> Iterator[None]:
    """Holds back what is written to standard error, and writes it afterwards without the chatter."""
    try:
        own = os.dup(2)
    except OSError:  # It is closed: nobody would see a thing.
        yield
        return
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(own, 2)
            os.close(own)
            held.seek(0)
            for line in held:
                if not _START_UP.fullmatch(line):
                    os.write(2, line)
