"""What a command has used: its own process and those that it started."""

from __future__ import annotations

import subprocess
import sys

from pipelines.resources import peak_memory, processor_seconds

# Has 64 MB, works for a while, says so and waits.
_CHILD = "x = bytearray(1 << 26)\nfor i in range(3_000_000): x[i] = 1\nprint(flush=True)\ninput()"


def test_children_count_while_they_live_and_their_work_afterwards():
    memory, seconds = peak_memory(), processor_seconds()
    with subprocess.Popen(
        [sys.executable, "-c", _CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        child.stdout.readline()
        if sys.platform == "linux":
            assert peak_memory() > memory + (1 << 26)
            assert processor_seconds() > seconds
        child.communicate(b"\n")
    assert processor_seconds() > seconds
