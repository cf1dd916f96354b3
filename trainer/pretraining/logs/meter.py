"""Adds up the values that steps report, from one logged step to the next."""

from __future__ import annotations

import math
import time
from collections import deque
from typing import Any

import numpy as np

from pipelines.errors import UserError
from trainer.data.batches import Batch

# What a step reports, in this order, as float32. (Only JAX gives the gradient's norm; else 0.)
STEP_VALUES = ("loss", "accuracy", "weight", "gradient_norm")
# … and after these, where the model has the head for it, means over the rows. Then the update's share of
# the kernels (JAX; else 0), and last, where steps may be skipped, how many were so far.
NEXT_SENTENCE_VALUES = ("next_sentence_loss", "next_sentence_accuracy")
# So many steps skipped one after another will not be the last.
_MOST_SKIPPED = 20
# Calls handed to the device before the first of them must be done: it never waits for Python.
_CALLS_IN_FLIGHT = 2


class DivergedError(UserError):
    """The loss is no longer a number: the state must not be saved."""


class Meter:
    """Reads the values of steps, a little behind the device, and adds them up for the next log line.

    ``window`` holds the values (STEP_VALUES …) of each step since the last summary; it is kept in
    checkpoints, so that means do not depend on where a run was interrupted. With ``hosts`` > 1
    processes each adds its part of every batch; a call of the device does ``steps_per_call`` steps.
    ``skips``: steps may be skipped.
    """

    def __init__(
        self,
        window: list[list[float]],
        hosts: int = 1,
        steps_per_call: int = 1,
        *,
        skips: bool = False,
    ):
        self.window = window
        self._hosts, self._skips, self._in_a_row = hosts, skips, 0
        self._most_in_flight = _CALLS_IN_FLIGHT * steps_per_call
        self._in_flight: deque[tuple[int, Any]] = deque()
        self.restart()

    def restart(self) -> None:
        """Restarts the clock, after something that is not training."""
        self._began = time.perf_counter()
        self._rows = self._tokens = 0
        self._waited = 0.0

    def add(self, batch: Batch, values: Any, waited: float) -> None:
        """Counts a step given to the device; ``values`` are its STEP_VALUES, perhaps not computed yet.

        Waits for the call before the last one: the device always has work, and never more than
        two calls of it. Raises DivergedError if a loss or gradient is not finite, or if too many
        steps were skipped in a row.
        """
        self._in_flight.append((batch.step + 1, values))
        self._rows += len(batch.row) * self._hosts
        self._tokens += batch.tokens * self._hosts
        self._waited += waited
        self._read(self._most_in_flight)

    def settle(self) -> None:
        """Waits until the device has done all steps. Raises DivergedError as ``add``."""
        self._read(0)

    def _read(self, still_in_flight: int) -> None:
        while len(self._in_flight) > still_in_flight:
            step, values = self._in_flight.popleft()
            values = np.asarray(values).tolist()
            loss, norm = values[0], values[3]
            if not (math.isfinite(loss) and math.isfinite(norm)):
                raise DivergedError(
                    f"step {step:,}: loss {loss}, gradient norm {norm}: training has diverged; "
                    "start over with a lower --learning_rate or more --warmup_steps (--overwrite)"
                )
            self._in_a_row = self._in_a_row + 1 if self._skips and not values[2] else 0
            if self._in_a_row == _MOST_SKIPPED:
                raise DivergedError(
                    f"step {step:,}: the last {_MOST_SKIPPED} steps were skipped: training has "
                    "diverged; start over with a lower --learning_rate, more --warmup_steps or a "
                    "higher --skip_norm (--overwrite)"
                )
            self.window.append(values)

    def summary(self) -> dict[str, float]:
        """The figures since the last summary (call ``settle`` first); empties the window."""
        seconds = max(time.perf_counter() - self._began, 1e-9)
        loss, accuracy, _, norm, *others = self.window[-1]
        skipped = {"skipped_steps": int(others.pop())} if self._skips else {}
        update = others.pop()
        weight = sum(values[2] for values in self.window) or 1.0
        figures = {
            "loss": loss,
            "accuracy": accuracy,
            "mean_loss": sum(v[0] * v[2] for v in self.window) / weight,
            "mean_accuracy": sum(v[1] * v[2] for v in self.window) / weight,
            "gradient_norm": norm,
            "update_ratio": update,
            "rows_per_second": round(self._rows / seconds, 1),
            "tokens_per_second": round(self._tokens / seconds, 1),
            "data_wait": round(min(1.0, self._waited / seconds), 4),
        }
        counted = [values for values in self.window if values[2]] or self.window
        for i, name in enumerate(NEXT_SENTENCE_VALUES[: len(others)], len(STEP_VALUES)):
            figures[name] = sum(values[i] for values in counted) / len(counted)
        self.window = []
        return figures | skipped
