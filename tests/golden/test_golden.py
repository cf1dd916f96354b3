"""Outputs, row order, losses, weights and help texts are those of the committed files.

A change that is meant to alter them rewrites the files with ``python -m tests.golden``; the diff then
shows what it altered.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

_HERE = Path(__file__).resolve().parent
_SECTIONS = (
    "vocab",
    "tokenize",
    "mask",
    "demo_task",
    "order",
    "run",
    "export",
    "files",
)
_HOW = "if that is meant, rewrite the files with: python -m tests.golden"
# On another kind of machine sums are rounded in another order; bfloat16 has 8 bits.
_TOLERANCE = 1e-4
_TOLERANCE_BFLOAT16 = 1e-3


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """golden.json and help/ as this code makes them, in a process without other tests' state."""
    folder = tmp_path_factory.mktemp("golden")
    done = subprocess.run(
        [sys.executable, "-m", "tests.golden", "--into", str(folder)],
        cwd=_HERE.parents[1],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return folder


@pytest.fixture(scope="module")
def found(made) -> dict[str, dict[str, Any]]:
    return json.loads((made / "golden.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def expected() -> dict[str, dict[str, Any]]:
    return json.loads((_HERE / "golden.json").read_text("utf-8"))


def differing(expected: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """The keys of what is missing, new or changed."""
    keys = sorted({*expected, *found})
    return [key for key in keys if expected.get(key) != found.get(key)]


def test_nothing_is_left_uncompared(found, expected):
    assert sorted(found) == sorted(expected) == sorted([*_SECTIONS, "losses", "machine"])


@pytest.mark.parametrize("section", _SECTIONS)
def test_outputs_are_the_same(found, expected, section):
    assert expected[section]
    different = differing(expected[section], found[section])
    assert not different, f"{section}: {', '.join(different)} changed; {_HOW}"


def test_losses_are_the_same(found, expected):
    """Digit for digit on a machine like that of the file, else nearly."""
    old, new = expected["losses"], found["losses"]
    if found["machine"] == expected["machine"]:
        different = differing(old, new)
    else:
        different = [key for key in sorted({*old, *new}) if not _is_near(key, old, new)]
    assert not different, f"losses: {', '.join(different)} changed; {_HOW}"


def _is_near(key: str, old: dict[str, list[str]], new: dict[str, list[str]]) -> bool:
    tolerance = _TOLERANCE_BFLOAT16 if "bfloat16" in key else _TOLERANCE
    values = [[float(value) for value in losses.get(key, ())] for losses in (new, old)]
    return values[0] == pytest.approx(values[1], rel=tolerance)


def test_help_texts_are_the_same(made, found, expected):
    if found["machine"]["python"] != expected["machine"]["python"]:
        pytest.skip("argparse of another Python lays its texts out in another way")
    texts = [
        {path.stem: path.read_text("utf-8") for path in (folder / "help").glob("*.txt")}
        for folder in (_HERE, made)
    ]
    different = differing(*texts)
    assert not different, f"--help of {', '.join(different)} changed; {_HOW}"
