"""How much a pipeline has done so far, for people who wait.

Counted where the work is done, here and as metrics of Beam, which travel from workers elsewhere. A
bundle that is tried again counts again: nothing that is written depends on this.
"""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any

from apache_beam.metrics.metric import Metrics, MetricsFilter

_NAMESPACE = "bertmill"
_lock = threading.Lock()
_here: Counter[str] = Counter()


def tally(**amounts: int) -> None:
    """Adds to what has been done."""
    with _lock:
        _here.update(amounts)
    for name, amount in amounts.items():
        Metrics.counter(_NAMESPACE, name).inc(amount)


def start_tally() -> None:
    """Begins at nothing, for another pipeline."""
    with _lock:
        _here.clear()


def read_tally(result: Any = None) -> Counter[str]:
    """What has been done: by the threads of this process or, if ``result`` is a running pipeline, by its
    workers as its runner reports it."""
    with _lock:
        done = Counter(_here)
    if result is not None and not done:
        # Of a job server Beam asks once and keeps the answer (2.77).
        if hasattr(result, "_metrics"):
            result._metrics = None
        try:
            found = result.metrics().query(MetricsFilter().with_namespace(_NAMESPACE))
            for counter in found["counters"]:
                done[counter.key.metric.name] += int(counter.attempted or counter.committed or 0)
        except Exception:  # Runners differ in what they report, and when; the work goes on.
            done.clear()
    return done
