"""Times of steps: what is inside a step counts for the inner one, and what is done with results not."""

from __future__ import annotations

import time
from collections import Counter

import pytest

from pipelines.beam.step_times import take_times, time_each, timed


def test_each_step_has_its_own_time():
    counts: Counter[str] = Counter(rows=3)

    def items():
        for n in range(3):
            time.sleep(0.02)
            yield n

    with timed(counts, "outer"):
        time.sleep(0.01)
        for _ in time_each(items(), counts, "inner"):
            time.sleep(0.03)
    times = take_times(counts)
    assert counts == {"rows": 3}
    assert 0.06 <= times["inner"] < 0.1 <= times["outer"]


def test_a_step_that_fails_is_timed_and_its_error_goes_on():
    counts: Counter[str] = Counter()

    def fails():
        yield 1
        raise KeyError("x")

    with pytest.raises(KeyError):
        list(time_each(fails(), counts, "reading"))
    with timed(counts, "after"):
        pass
    assert list(take_times(counts)) == ["after", "reading"]
