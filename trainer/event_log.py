"""The logged steps as an event file that TensorBoard shows, beside metrics.jsonl and equal to it.

TensorBoard's own record format, written without TensorFlow. A resumed run writes the file anew from
the lines of metrics.jsonl that it keeps, so each step is there once however often it was computed.
Relative time in TensorBoard is time spent training: pauses between the parts of a run do not show.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pipelines import files

FOLDER = "tensorboard"
# What an event file's name must hold for TensorBoard to find it.
_NAME = "events.out.tfevents.bertmill"
_VERSION = "brain.Event:2"
# Metrics by the group that TensorBoard shows them in; others stand alone.
_GROUPS = {
    "loss": ("loss", "mean_loss", "validation_loss", "next_sentence_loss"),
    "accuracy": ("accuracy", "mean_accuracy", "validation_accuracy", "next_sentence_accuracy"),
    "speed": ("rows_per_second", "tokens_per_second", "data_wait", "tflops", "mfu"),
    "training": ("learning_rate", "gradient_norm", "epoch"),
}
_TAGS = {name: f"{group}/{name}" for group, names in _GROUPS.items() for name in names}


class EventLog:
    """Writes the event file in the ``tensorboard`` folder of a run."""

    def __init__(self, output: str, kept: Iterable[Mapping[str, Any]], seconds: float):
        """Begins with the ``kept`` lines of metrics.jsonl; the run took ``seconds`` so far."""
        from tensorboard.compat.proto import event_pb2

        self._event = event_pb2.Event
        self._zero = time.time() - seconds
        folder = Path(output) / FOLDER
        files.make_folder(str(folder))
        for old in folder.glob("*tfevents*"):
            old.unlink()
        self._file = open(folder / _NAME, "wb")  # noqa: SIM115 - kept open
        self._write(self._event(wall_time=self._zero, file_version=_VERSION))
        for line in kept:
            self._add(line)
        self._file.flush()

    def write(self, line: Mapping[str, Any]) -> None:
        """Adds a logged step: an object of metrics.jsonl, whose ``seconds`` say when it was."""
        self._add(line)
        self._file.flush()

    def _add(self, line: Mapping[str, Any]) -> None:
        event = self._event(wall_time=self._zero + line.get("seconds", 0.0), step=line["step"])
        for name, value in line.items():
            if name not in ("step", "seconds"):
                event.summary.value.add(tag=_TAGS.get(name, name), simple_value=value)
        self._write(event)

    def _write(self, event: Any) -> None:
        from tensorboard.summary.writer.record_writer import RecordWriter

        RecordWriter(self._file).write(event.SerializeToString())

    def close(self) -> None:
        """Closes the file."""
        self._file.close()
