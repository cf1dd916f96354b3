"""Runs the checks in ``checks/`` once for each Keras backend, in a process of its own.

A process can only have one backend, so a test asks for the outcome of a named check.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

MODELS = ("models", "loss", "presets", "tasks")
GUIDES = ("guides",)

_CHECKS = Path(__file__).with_name("checks")
_ROOT = Path(__file__).parents[3]


def names_of(*modules: str) -> list[str]:
    """The functions ``check_…`` in the given modules, without importing them."""
    trees = [ast.parse((_CHECKS / f"check_{module}.py").read_text()) for module in modules]
    functions = [node for tree in trees for node in tree.body if isinstance(node, ast.FunctionDef)]
    return [f.name for f in functions if f.name.startswith("check_")]


def assert_passed(backend: str, modules: tuple[str, ...], name: str) -> None:
    """Fails with the check's own traceback."""
    if importlib.util.find_spec(backend.split("-")[0]) is None:
        pytest.skip(f"{backend} is not installed")
    outcome = _outcomes(backend, modules)[name]
    if outcome.startswith("skipped"):
        pytest.skip(outcome)
    assert outcome == "passed", f"{name} on {backend}:\n{outcome}"


@functools.cache
def _outcomes(backend: str, modules: tuple[str, ...]) -> dict[str, str]:
    """Check name -> "passed", "skipped: why" or the traceback."""
    environment = os.environ | {
        "KERAS_BACKEND": backend.split("-")[0],
        "PYTHONPATH": str(_ROOT),
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "CUDA_VISIBLE_DEVICES": "",
    }
    if not backend.startswith("jax"):
        # TensorFlow's XLA is another version and ends at flags that it does not know.
        environment.pop("XLA_FLAGS", None)
    run = subprocess.run(
        [sys.executable, str(_CHECKS / "run.py"), backend, *modules],
        cwd=_ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=1200,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    return json.loads(run.stdout.splitlines()[-1])
