"""What a run says of itself while it trains: metrics.jsonl, TensorBoard, progress.

metrics.jsonl holds one object for each logged step, each step once however often the run was
resumed: lines beyond the checkpoint that a run goes on from are removed, and come again, equal. At
``gs://`` it is written whole, at the latest before each checkpoint, so that a run that goes on from
there finds every line up to it.
"""

from __future__ import annotations

import json
import math
import sys
import threading
import time
from collections import deque
from contextlib import suppress
from typing import Any

import numpy as np
from tqdm import tqdm

from pipelines import files
from pipelines.errors import UserError
from trainer.data.batches import Batch
from trainer.pretraining.event_log import EventLog
from trainer.pretraining.growing_file import GrowingFile
from trainer.run_folder import METRICS

# What a step reports, in this order, as float32. (Only JAX tells the gradient's norm; else 0.)
STEP_VALUES = ("loss", "accuracy", "weight", "gradient_norm")
# … and after these, where the model has the head for it, means over the rows.
NEXT_SENTENCE_VALUES = ("next_sentence_loss", "next_sentence_accuracy")
# Calls handed to the device before the first of them must be done: it never waits for Python.
_CALLS_IN_FLIGHT = 2
# Between checkpoints, a remote log is at most about this far behind.
_SECONDS_BETWEEN_UPLOADS = 30


class MetricsLog:
    """Appends to the run's metrics.jsonl, and the same to its TensorBoard events."""

    def __init__(self, output: str, done: int, seconds: float):
        """Opens the log of a run that has ``done`` steps behind it, and took ``seconds`` for them."""
        kept = [line for line in read_metrics(output) if line["step"] <= done]
        data = "".join(json.dumps(line) + "\n" for line in kept)
        self._path = files.join(output, METRICS)
        self._file = GrowingFile(self._path, data.encode())
        self._events = EventLog(output, kept, seconds)
        self._uploads = files.is_remote(output)
        self._uploaded = time.monotonic()
        self._thread: threading.Thread | None = None

    def write(self, line: dict[str, Any]) -> None:
        """Adds one object. Raises UserError if there is no room for it."""
        try:
            self._file.write((json.dumps(line) + "\n").encode())
            self._events.write(line)
        except OSError as error:
            raise UserError(
                f"{self._path} could not be written ({error.strerror or error}); make room and run "
                "the same command again: it goes on from its last checkpoint"
            ) from None
        now = time.monotonic()
        if self._uploads and now - self._uploaded > _SECONDS_BETWEEN_UPLOADS:
            self._uploaded = now
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._try_to_publish)
                self._thread.start()

    def publish(self) -> None:
        """Makes remote files show all that was written before. Raises UserError if it cannot."""
        self._file.publish()
        self._events.file.publish()

    def _try_to_publish(self) -> None:
        # Only watched: where the store stays away, the next checkpoint says so.
        with suppress(UserError, OSError):
            self.publish()

    def close(self) -> None:
        """Closes the files."""
        if self._thread is not None:
            self._thread.join()
        self._try_to_publish()
        self._file.close()
        self._events.close()


def read_metrics(output: str) -> list[dict[str, Any]]:
    """The objects of a run's metrics.jsonl; a last line that was cut off is left out."""
    path = files.join(output, METRICS)
    if not files.exists(path):
        return []
    whole = files.read_bytes(path).decode().split("\n")[:-1]
    return [json.loads(line) for line in whole]


class Progress:
    """A bar on a terminal, plain lines in a log."""

    def __init__(self, steps: int, done: int):
        self._steps = steps
        self._first, self._began = done, time.perf_counter()
        self._bar = (
            tqdm(total=steps, initial=done, unit="step", dynamic_ncols=True, file=sys.stderr)
            if sys.stderr.isatty()
            else None
        )

    def step(self, done: int) -> None:
        """Tells that ``done`` steps are behind."""
        if self._bar is not None:
            self._bar.update(done - self._bar.n)

    def report(self, line: dict[str, Any]) -> None:
        """Shows a logged step."""
        parts = [
            f"loss {line['mean_loss']:.4f}",
            f"accuracy {line['mean_accuracy']:.2%}",
            f"{line['rows_per_second']:,.0f} rows/s",
            f"{line['tokens_per_second']:,.0f} tokens/s",
            f"MFU {line['mfu']:.1%}" if "mfu" in line else f"{line['tflops']:.3g} TFLOP/s",
            f"data wait {line['data_wait']:.1%}",
        ]
        if "next_sentence_accuracy" in line:
            parts.append(f"next sentence {line['next_sentence_accuracy']:.1%}")
        if "validation_loss" in line:
            parts.append(
                f"validation loss {line['validation_loss']:.4f}, "
                f"accuracy {line['validation_accuracy']:.2%}"
            )
        if self._bar is not None:
            if "validation_loss" in line:
                self._bar.write(f"step {line['step']:,}: {'; '.join(parts)}", file=sys.stderr)
            self._bar.set_postfix_str("; ".join(parts[:2] + parts[4:6]))
            return
        done = line["step"]
        rate = (time.perf_counter() - self._began) / max(1, done - self._first)
        left = tqdm.format_interval(rate * (self._steps - done))
        print(
            f"pretrain: step {done:,} of {self._steps:,}: {'; '.join(parts)}; {left} left",
            file=sys.stderr,
            flush=True,
        )

    def close(self) -> None:
        """Ends the bar."""
        if self._bar is not None:
            self._bar.close()


class DivergedError(UserError):
    """The loss is no longer a number: the state must not be saved."""


class Meter:
    """Reads what steps report, a little behind the device, and adds it up for the next logged step.

    ``window`` holds the values (STEP_VALUES …) of each step since the last summary; it
    is kept in checkpoints, so that means do not depend on where a run was interrupted. With
    ``hosts`` > 1 processes each adds its part of every batch; a call of the device does
    ``steps_per_call`` steps.
    """

    def __init__(self, window: list[list[float]], hosts: int = 1, steps_per_call: int = 1):
        self.window = window
        self._hosts = hosts
        self._most_in_flight = _CALLS_IN_FLIGHT * steps_per_call
        self._in_flight: deque[tuple[int, Any]] = deque()
        self.restart()

    def restart(self) -> None:
        """Starts the clock anew, after something that is not training."""
        self._began = time.perf_counter()
        self._rows = self._tokens = 0
        self._waited = 0.0

    def add(self, batch: Batch, values: Any, waited: float) -> None:
        """Counts a step given to the device; ``values`` are its STEP_VALUES, perhaps not there yet.

        Waits for the call before the last one: the device always has work, and never more than
        two calls of it. Raises DivergedError if a loss or gradient is not finite.
        """
        self._in_flight.append((batch.step + 1, values))
        self._rows += len(batch.row) * self._hosts
        self._tokens += batch.tokens * self._hosts
        self._waited += waited
        self._read(self._most_in_flight)

    def settle(self) -> None:
        """Waits until the device has done all steps. Raises DivergedError as ``add``."""
        self._read(0)

    def _read(self, limit: int) -> None:
        while len(self._in_flight) > limit:
            step, values = self._in_flight.popleft()
            values = np.asarray(values).tolist()
            loss, norm = values[0], values[3]
            if not math.isfinite(loss) or not math.isfinite(norm):
                raise DivergedError(
                    f"step {step:,}: loss {loss}, gradient norm {norm}: training has diverged; "
                    "start anew with a lower --learning_rate or more --warmup_steps (--overwrite)"
                )
            self.window.append(values)

    def summary(self) -> dict[str, float]:
        """The figures since the last summary (call ``settle`` first); empties the window."""
        seconds = max(time.perf_counter() - self._began, 1e-9)
        loss, accuracy, _, norm, *next_sentence = self.window[-1]
        weight = sum(values[2] for values in self.window) or 1.0
        figures = {
            "loss": loss,
            "accuracy": accuracy,
            "mean_loss": sum(v[0] * v[2] for v in self.window) / weight,
            "mean_accuracy": sum(v[1] * v[2] for v in self.window) / weight,
            "gradient_norm": norm,
            "rows_per_second": round(self._rows / seconds, 1),
            "tokens_per_second": round(self._tokens / seconds, 1),
            "data_wait": round(min(1.0, self._waited / seconds), 4),
        }
        for i, name in enumerate(NEXT_SENTENCE_VALUES[: len(next_sentence)], len(STEP_VALUES)):
            figures[name] = sum(values[i] for values in self.window) / len(self.window)
        self.window = []
        return figures
