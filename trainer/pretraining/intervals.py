"""How often a run logs and validates where nobody has said: often enough for a curve of any run, and
rarely enough to cost little."""

from __future__ import annotations

_MOST_LINES, _MOST_STEPS_BETWEEN = 100, 100
_MOST_VALIDATIONS = 20
# A validation batch takes a third of a training step: so long between two costs a twelfth of the time.
_STEPS_PER_BATCH = 4


def log_interval(steps: int) -> int:
    """Steps between lines of the log: a hundredth of all, at most 100.

    >>> [log_interval(steps) for steps in (20, 1500, 1_000_000)]
    [1, 15, 100]
    """
    return max(1, min(_MOST_STEPS_BETWEEN, steps // _MOST_LINES))


def validation_interval(steps: int, batches: int, log_every: int = 1) -> int:
    """Steps between validations of so many batches: a twentieth of all, or what keeps them cheap; but
    there are two of them at least, since one makes no curve. They fall on steps that are logged anyway,
    ``log_every`` apart, where there is room for it: a line more would be of fewer steps than others.

    >>> [validation_interval(1000, batches) for batches in (1, 100, 500)]
    [50, 400, 500]
    >>> [validation_interval(1500, 1, log_every) for log_every in (1, 50, 2000)]
    [75, 100, 75]
    """
    cheap = max(-(-steps // _MOST_VALIDATIONS), _STEPS_PER_BATCH * batches)
    interval = max(1, min(-(-steps // 2), cheap))
    logged = -(-interval // log_every) * log_every
    return logged if logged < steps else interval
