"""Importing TensorFlow Text without its start-up chatter and without what it has no use for here.

TensorFlow's C++ logging prints a page to standard error before any setting can stop it: standard
error is set aside while the import runs, and what is not such chatter is printed afterwards. Where
they happen to be installed, TensorFlow also imports JAX (for a converter) and Keras (which imports
pandas, SciPy and more), a third of its time; both are kept from it until it is loaded, and import as
ever afterwards.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

_CHATTER = re.compile(
    rb"^([IE]\d{4} [^\n]*(cuda|port\.cc|cpu_feature)|I\d{4} |"
    rb"WARNING: All log messages before absl|To enable the following)"
)
# TensorFlow does without these if they are missing.
_UNUSED = ("jax", "keras")
# Keras layers that tensorflow_text defines when imported, and that nothing else in it needs.
_KERAS_LAYERS = "tensorflow_text.python.keras"
_lock = threading.Lock()


def import_quietly(name: str) -> ModuleType:
    """Imports a module such as ``tensorflow_text``; ImportError if it is not installed."""
    if name in sys.modules:
        return importlib.import_module(name)
    with _lock, tempfile.TemporaryFile() as aside:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        sys.stderr.flush()
        kept = os.dup(2)
        os.dup2(aside.fileno(), 2)
        try:
            with _without_the_unused():
                return importlib.import_module(name)
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            aside.seek(0)
            lines = [line for line in aside.read().splitlines(True) if not _CHATTER.match(line)]
            os.write(2, b"".join(lines))


@contextmanager
def _without_the_unused() -> Iterator[None]:
    """Lets imports of what nobody here uses fail, unless somebody uses it: it is loaded already."""
    if "tensorflow" in sys.modules or "keras" in sys.modules:
        yield
        return
    hidden = [name for name in _UNUSED if name not in sys.modules]
    for name in hidden:
        sys.modules[name] = None  # type: ignore[assignment]
    sys.modules[_KERAS_LAYERS] = ModuleType(_KERAS_LAYERS)
    try:
        yield
    finally:
        for name in (*hidden, _KERAS_LAYERS):
            sys.modules.pop(name, None)
