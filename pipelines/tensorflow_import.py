"""Importing TensorFlow without its start-up chatter.

Its C++ logging prints a page to standard error before any setting can stop it. Here standard error
is set aside while the import runs, and what is not such chatter is printed afterwards.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
import tempfile
import threading
from types import ModuleType

_CHATTER = re.compile(rb"^(I\d{4} |WARNING: All log messages before absl|To enable the following)")
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
            return importlib.import_module(name)
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            aside.seek(0)
            lines = [line for line in aside.read().splitlines(True) if not _CHATTER.match(line)]
            os.write(2, b"".join(lines))
