"""Every check of ``checks/`` on every backend that is installed."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path

import pytest

_CHECKS = Path(__file__).with_name("checks")


def _names(*modules: str) -> list[str]:
    """The functions ``check_…`` in the given modules, without importing them."""
    trees = [ast.parse((_CHECKS / f"check_{module}.py").read_text()) for module in modules]
    functions = [node for tree in trees for node in tree.body if isinstance(node, ast.FunctionDef)]
    return [f.name for f in functions if f.name.startswith("check_")]


@pytest.mark.parametrize("name", _names("models", "loss", "presets", "tasks"))
@pytest.mark.parametrize(
    "backend", ["jax", "tensorflow", pytest.param("torch", marks=pytest.mark.long)]
)
def test_on_backend(check, backend: str, name: str) -> None:
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    check(backend, name)


_LONG = [pytest.param(name, marks=pytest.mark.long) for name in ("tensorflow", "torch")]


@pytest.mark.parametrize("name", _names("guides"))
@pytest.mark.parametrize("backend", ["jax", *_LONG])
def test_guides_on_backend(check, backend: str, name: str) -> None:
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    check(backend, name)


def test_jax_needs_no_tensorflow(check) -> None:
    check("jax-without-tensorflow", "check_without_tensorflow")
