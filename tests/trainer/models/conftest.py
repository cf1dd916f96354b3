"""Runs the checks in ``checks/`` once for each Keras backend, in a process of its own.

A process can only have one backend, so a test here asks for the outcome of a named check.
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

_CHECKS = Path(__file__).with_name("checks")
_ROOT = Path(__file__).parents[3]


@functools.cache
def _outcomes(backend: str, *modules: str) -> dict[str, str]:
    """Check name of the given modules (or of all) -> "passed", "skipped: why" or the traceback."""
    environment = os.environ | {
        "KERAS_BACKEND": backend.removesuffix("-without-tensorflow"),
        "PYTHONPATH": str(_ROOT),
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "CUDA_VISIBLE_DEVICES": "",
        # Compiling is most of the time here.
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
    }
    run = subprocess.run(
        [sys.executable, str(_CHECKS / "run.py"), backend, *modules],
        cwd=_ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=1200,
    )
    lines = run.stdout.splitlines()
    assert run.returncode == 0, run.stderr[-3000:]
    return json.loads(lines[-1])


@pytest.fixture
def check():
    """``check(backend, name)``: fails with the check's own traceback.

    The guides have a process of their own: where they are not run, they must not cost time.
    """

    def assert_passed(backend: str, name: str) -> None:
        guides = ("guides",) if name.startswith(("check_guide_", "check_page_")) else ()
        outcome = _outcomes(backend, *guides).get(name, "no such check")
        if outcome.startswith("skipped"):
            pytest.skip(outcome)
        assert outcome == "passed", f"{name} on {backend}:\n{outcome}"

    return assert_passed
