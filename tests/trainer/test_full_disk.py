"""A real disk that fills up under a run: the checkpoint before stays good, and the run goes on."""

from __future__ import annotations

import os
import re
import subprocess

import numpy as np
import pytest

from tests.command_process import TINY, flags_of, run_command_process
from trainer.pretraining.checkpoints import Checkpoints
from trainer.pretraining.logs.metrics import read_metrics

_TINY = TINY | {"keep_checkpoints": 1}


def run(status, *, file_size=None, **options):
    flags = flags_of(**_TINY | options)
    return run_command_process("trainer.pretrain", *flags, status=status, file_size=file_size)[1]


@pytest.fixture(scope="module")
def whole(make_rows, tmp_path_factory):
    """A run that had room enough."""
    output = tmp_path_factory.mktemp("whole")
    run(0, data=make_rows(), output=output, steps=40)
    return output


def assert_one_line(said):
    """After the progress, one line says what is wrong."""
    assert "Traceback" not in said
    lines = [line for line in said.splitlines() if not line.startswith("pretrain: ")]
    (line,) = lines
    return line


def assert_equal(output, expected):
    assert [line["loss"] for line in read_metrics(str(output))] == [
        line["loss"] for line in read_metrics(str(expected))
    ]
    mine, theirs = (Checkpoints(str(folder), 1).load(40)[0] for folder in (output, expected))
    for name, values in mine.items():
        np.testing.assert_array_equal(values, theirs[name], err_msg=name)


def checkpoint_size(whole):
    return os.path.getsize(Checkpoints(str(whole), 1).path(40))


def test_a_file_that_cannot_grow(whole, make_rows, tmp_path):
    """The system refuses to write more than half of a checkpoint, in a run that goes on."""
    options = {"data": make_rows(), "output": tmp_path, "steps": 40}
    damaged = run(2, **options, file_size=checkpoint_size(whole) // 2)
    # Checkpoints are written beside the loop, which may be further on when the first one fails.
    assert re.search(
        r"step-000000[1-4]0\.npz could not be written \(File too large\); make", damaged
    )
    assert Checkpoints(str(tmp_path), 1).steps() == []
    assert_one_line(damaged)
    said = run(0, **options)
    assert "resuming" not in said
    assert_equal(tmp_path, whole)


@pytest.fixture
def small_disk(whole, tmp_path):
    """A filesystem with room for one checkpoint and a half; ``.resize(bytes)``."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(*options):
        command = ["mount", "-t", "tmpfs", "-o", ",".join(options), "none", str(folder)]
        return subprocess.run(command, capture_output=True, text=True)

    try:
        done = mount(f"size={checkpoint_size(whole) * 3 // 2 + (64 << 10)}")
    except FileNotFoundError:
        pytest.skip("no mount command here")
    if done.returncode:
        pytest.skip(f"mounting is not allowed here: {done.stderr.strip()}")
    yield folder, lambda size: mount("remount", f"size={size}")
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk(whole, make_rows, small_disk):
    disk, resize = small_disk
    options = {"data": make_rows(), "output": disk / "run", "steps": 40}
    line = assert_one_line(run(2, **options))
    named = r"step-000000[2-4]0\.npz could not be written \(No space left on device\)"
    assert re.search(named, line)
    assert "the one of step 10 is good: make room" in line
    checkpoints = Checkpoints(str(disk / "run"), 1)
    assert checkpoints.steps() == [10]
    assert checkpoints.newest() == 10
    assert sorted(path.name for path in (disk / "run" / "checkpoints").iterdir()) == [
        "step-00000010.npz"
    ]
    # Nothing but a few bytes left: the log is the first that has no room.
    with open(disk / "ballast", "wb", buffering=0) as ballast:
        try:
            while True:
                ballast.write(bytes(512))
        except OSError:
            pass
    line = assert_one_line(run(2, **options))
    assert "No space left on device" in line or "disk is full" in line
    assert checkpoints.newest() == 10
    assert resize(64 << 20).returncode == 0
    assert "resuming after step 10" in run(0, **options)
    assert_equal(disk / "run", whole)
