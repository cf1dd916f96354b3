"""TensorFlow's import prints nothing after ``import trainer``; whatever else is printed stays."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parents[2]
_NOISY = """
import os, sys
os.write(2, b"WARNING: All log messages before absl::InitializeLog() is called are written\\n")
os.write(2, b"I0000 00:00:1795700766.84 11186 cudart_stub.cc:31] Could not find cuda drivers\\n")
os.write(2, b"another thread's line\\n")
if os.environ.get("BROKEN"):
    raise ImportError("no library libfoo")
"""


def run(code: str, path: Path = _ROOT, **environment: str) -> tuple[int, str]:
    """The exit status and standard error of Python running ``code``."""
    kept = {k: v for k, v in os.environ.items() if k not in ("TF_CPP_MIN_LOG_LEVEL", "PYTHONPATH")}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**kept, "PYTHONPATH": f"{path}{os.pathsep}{_ROOT}", **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.returncode, done.stderr


def test_nothing_but_tensorflow_is_silenced(tmp_path: Path) -> None:
    (tmp_path / "tensorflow").mkdir()
    (tmp_path / "tensorflow" / "__init__.py").write_text(_NOISY)
    code = "import trainer, os, tensorflow; os.write(2, b'after\\n')"
    assert run(code, tmp_path) == (0, "another thread's line\nafter\n")
    status, shown = run(code, tmp_path, BROKEN="1")
    assert status == 1
    assert shown.startswith("another thread's line\nTraceback")
    assert shown.endswith("ImportError: no library libfoo\n")


def test_the_api_on_tensorflow_starts_in_silence() -> None:
    pytest.importorskip("keras")
    if find_spec("tensorflow") is None:
        pytest.skip("tensorflow is not installed")
    code = "import trainer; trainer.models.BertTextClassifier"
    assert run(code, KERAS_BACKEND="tensorflow", CUDA_VISIBLE_DEVICES="") == (0, "")
