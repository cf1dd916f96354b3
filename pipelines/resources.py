"""What a command has used of this machine: its own process and those that it started."""

from __future__ import annotations

import os
import resource
import sys
import time
from contextlib import suppress
from pathlib import Path

_MAXRSS_BYTES = 1 if sys.platform == "darwin" else 1024


def processor_seconds() -> float:
    """The processor time of this process and its children, living (on Linux) and ended."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    total = time.process_time() + ended.ru_utime + ended.ru_stime
    for child in _children():
        with suppress(OSError):
            fields = (child / "stat").read_text().rpartition(")")[2].split()
            total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total


def peak_memory() -> int:
    """The most bytes that this process has had, and each of its living children (on Linux).

    What the system says of ended ones includes their parent's from before they began.
    """
    total = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _MAXRSS_BYTES
    for child in _children():
        with suppress(OSError):
            for line in (child / "status").read_text().splitlines():
                if line.startswith("VmHWM:"):
                    total += int(line.split()[1]) * 1024
    return total


def _children() -> list[Path]:
    """The folders in /proc of the living children, and of theirs."""
    found, unseen = [], [Path("/proc/self")]
    while unseen:
        parent = unseen.pop()
        with suppress(OSError):
            for listed in parent.glob("task/*/children"):
                children = [Path(f"/proc/{pid}") for pid in listed.read_text().split()]
                found += children
                unseen += children
    return found
