"""The logged steps as an event file that TensorBoard shows, beside metrics.jsonl and equal to it.

TensorBoard's own record format, written without TensorFlow. A resumed run writes the file anew from
the lines of metrics.jsonl that it keeps, so each step is there once however often it was computed.
Relative time in TensorBoard is time spent training: pauses between the parts of a run do not show.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from io import BytesIO
from typing import Any

from pipelines import files
from trainer.pretraining.growing_file import GrowingFile
from trainer.run_folder import TENSORBOARD

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
        folder = files.join(output, TENSORBOARD)
        files.make_folder(folder)
        files.delete(
            files.join(folder, name) for name in files.names_in(folder) if "tfevents" in name
        )
        content = self._encode(self._event(wall_time=self._zero, file_version=_VERSION))
        content += b"".join(map(self._encode_line, kept))
        self.file = GrowingFile(files.join(folder, _NAME), content)
        """The event file; at an object store it has to be published now and then."""

    def write(self, line: Mapping[str, Any]) -> None:
        """Adds a logged step: an object of metrics.jsonl, whose ``seconds`` say when it was."""
        self.file.write(self._encode_line(line))

    def _encode_line(self, line: Mapping[str, Any]) -> bytes:
        event = self._event(wall_time=self._zero + line.get("seconds", 0.0), step=line["step"])
        for name, value in line.items():
            if name not in ("step", "seconds"):
                event.summary.value.add(tag=_TAGS.get(name, name), simple_value=value)
        return self._encode(event)

    def _encode(self, event: Any) -> bytes:
        from tensorboard.summary.writer.record_writer import RecordWriter

        record = BytesIO()
        RecordWriter(record).write(event.SerializeToString())
        return record.getvalue()

    def close(self) -> None:
        """Closes the file."""
        self.file.close()
