"""The logged steps as an event file that TensorBoard shows, beside metrics.jsonl and equal to it.

TensorBoard's own record format, written without TensorFlow. A resumed run writes the file anew from
the lines of metrics.jsonl that it keeps, so each step is there once however often it was computed.
Relative time in TensorBoard is time spent training: pauses between the parts of a run do not show.
"""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from typing import Any

from pipelines import files
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


def new_event_file(output: str) -> str:
    """The path of a run's event file, whose folder is there and holds no events of before."""
    folder = files.join(output, TENSORBOARD)
    files.make_folder(folder)
    files.delete(files.join(folder, name) for name in files.names_in(folder) if "tfevents" in name)
    return files.join(folder, _NAME)


class EventEncoder:
    """Turns lines of metrics.jsonl into records of an event file."""

    def __init__(self, began: float):
        """``began``: the time (seconds since 1970) that the lines' ``seconds`` are counted from."""
        from tensorboard.compat.proto import event_pb2

        self._event = event_pb2.Event
        self._began = began

    def header(self) -> bytes:
        """The first record of every event file."""
        return _as_record(self._event(wall_time=self._began, file_version=_VERSION))

    def encode(self, line: Mapping[str, Any]) -> bytes:
        """A logged step as a record."""
        event = self._event(wall_time=self._began + line.get("seconds", 0.0), step=line["step"])
        for name, value in line.items():
            if name not in ("step", "seconds"):
                event.summary.value.add(tag=_TAGS.get(name, name), simple_value=value)
        return _as_record(event)


def _as_record(event: Any) -> bytes:
    from tensorboard.summary.writer.record_writer import RecordWriter

    record = BytesIO()
    RecordWriter(record).write(event.SerializeToString())
    return record.getvalue()
