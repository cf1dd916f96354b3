"""The logged steps as an event file that TensorBoard shows, beside metrics.jsonl and equal to it.

TensorBoard's own record format, written without TensorFlow. A resumed run rewrites the file from
the lines of metrics.jsonl that it keeps, so each step is there once however often it was computed.
Relative time in TensorBoard is time spent training: pauses between the parts of a run do not show.
"""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from typing import Any

from pipelines.storage import files
from trainer.run_folder import TENSORBOARD

# What an event file's name must hold for TensorBoard to find it.
_NAME = "events.out.tfevents.bertmill"
_VERSION = "brain.Event:2"
# Metrics by the group that TensorBoard shows them in; others have no group.
_GROUPS = {
    "loss": (
        *("loss", "mean_loss", "validation_loss", "validation_frequency_loss"),
        "next_sentence_loss",
    ),
    "accuracy": ("accuracy", "mean_accuracy", "validation_accuracy", "next_sentence_accuracy"),
    "speed": ("rows_per_second", "tokens_per_second", "data_wait", "tflops", "mfu"),
    "training": ("learning_rate", "gradient_norm", "update_ratio", "epoch"),
}
_TAGS = {name: f"{group}/{name}" for group, names in _GROUPS.items() for name in names}


def prepare_event_file(output: str) -> str:
    """The path of a run's event file; its folder then exists and holds no older events."""
    folder = files.join(output, TENSORBOARD)
    files.make_folder(folder)
    files.delete(files.join(folder, name) for name in files.names_in(folder) if "tfevents" in name)
    return files.join(folder, _NAME)


def encode_header(began: float) -> bytes:
    """The first record of every event file of a run that ``began`` then (seconds since 1970)."""
    return _encode_record(wall_time=began, file_version=_VERSION)


def encode_event(line: Mapping[str, Any], began: float) -> bytes:
    """A line of metrics.jsonl as a record; its ``seconds`` are counted from ``began``."""
    values = [
        {"tag": _TAGS.get(name, name), "simple_value": value}
        for name, value in line.items()
        if name not in ("step", "seconds")
    ]
    time = began + line.get("seconds", 0.0)
    return _encode_record(wall_time=time, step=line["step"], summary={"value": values})


def _encode_record(**event: Any) -> bytes:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.summary.writer.record_writer import RecordWriter

    record = BytesIO()
    RecordWriter(record).write(Event(**event).SerializeToString())
    return record.getvalue()
