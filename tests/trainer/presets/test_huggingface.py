"""Runs the files ``transformers_….py`` in a process of their own.

PyTorch cannot be imported into a process that holds TensorFlow on every platform.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[3]


def test_transformers_parity() -> None:
    for package in ("torch", "transformers", "jax"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    files = map(str, sorted(Path(__file__).parent.glob("transformers_*.py")))
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *files],
        cwd=_ROOT,
        env=os.environ
        | {
            "KERAS_BACKEND": "jax",
            "CUDA_VISIBLE_DEVICES": "",
        },
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert run.returncode == 0, run.stdout[-5000:] + run.stderr[-2000:]
    assert " passed" in run.stdout
