"""How long workers take over each step of a pipeline.

The times are counts, in microseconds, and travel as those do: with the data, once however often a
bundle is tried. They end in run.json, never in a manifest, which is the same for every run.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

_PREFIX = "microseconds_"
_inside = threading.local()

T = TypeVar("T")


@contextmanager
def timed(counts: Counter[str], step: str) -> Iterator[None]:
    """Adds to the counts how long the block takes, without the steps that are timed inside it."""
    outer, _inside.taken = getattr(_inside, "taken", 0), 0
    began = time.perf_counter_ns()
    try:
        yield
    finally:
        taken = time.perf_counter_ns() - began
        counts[_PREFIX + step] += (taken - _inside.taken) // 1000
        _inside.taken = outer + taken


def time_each(items: Iterable[T], counts: Counter[str], step: str) -> Iterator[T]:
    """The items; adds to the counts how long each took to make, without what is done with it."""
    made = iter(items)
    while True:
        with timed(counts, step):
            try:
                item = next(made)
            except StopIteration:
                return
        yield item


def take_times(counts: Counter[str]) -> dict[str, float]:
    """Removes the times from the counts; seconds by step."""
    names = sorted(name for name in counts if name.startswith(_PREFIX))
    return {name.removeprefix(_PREFIX): round(counts.pop(name) / 1e6, 3) for name in names}
