"""A child answers one question, raises what it raised, and does not outlive its parent."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipelines.child_process import ask, read_answer, start_child
from pipelines.errors import UserError

_CHILD = """
import time
from pipelines.child_process import answer_question
from pipelines.errors import UserError

def answer(number):
    print("what a library says")
    if number < 0:
        raise UserError(f"{number} is negative")
    time.sleep(number)
    return 2 * number

if __name__ == "__main__":
    answer_question(answer)
"""
_PARENT = """
import time
from pipelines.child_process import ask, start_child

child = start_child("slow_child")
ask(child, 600)
print(child.pid, flush=True)
time.sleep(600)
"""


@pytest.fixture(autouse=True)
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "slow_child.py").write_text(_CHILD)
    monkeypatch.syspath_prepend(str(tmp_path))


def test_it_answers_whatever_else_is_printed() -> None:
    with start_child("slow_child") as child:
        ask(child, 0)
        assert read_answer(child) == 0


def test_it_raises_here_what_it_raised_there() -> None:
    with start_child("slow_child") as child:
        ask(child, -1)
        with pytest.raises(UserError, match="-1 is negative"):
            read_answer(child)


def test_one_that_dies_has_no_answer() -> None:
    with start_child("slow_child") as child:
        ask(child, 600)
        child.kill()
        with pytest.raises(EOFError):
            read_answer(child)


def test_it_ends_with_a_parent_that_is_killed() -> None:
    path = os.pathsep.join(sys.path)
    with subprocess.Popen(
        [sys.executable, "-c", _PARENT],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.kill()
    for _ in range(600):
        if (
            not Path(f"/proc/{child}").exists()
            or "Z" in Path(f"/proc/{child}/stat").read_text().split()[2]
        ):
            return
        time.sleep(0.05)
    pytest.fail(f"process {child} lives on")
