"""The log of a run: metrics.jsonl, and the same as TensorBoard events.

metrics.jsonl holds one object for each logged step, each step once however often the run was
resumed: lines beyond the checkpoint that a run resumes from are removed, and come again, equal. Each
checkpoint holds all lines up to it, so that nothing that happens to the file is carried on. At
``gs://`` it is uploaded whole, at the latest before each checkpoint.
"""

from __future__ import annotations

import json
import time
from typing import Any

from pipelines.errors import UserError
from pipelines.records.checksums import check_files, checked_file
from pipelines.storage import files
from pipelines.storage.json_file import parse_json
from trainer.pretraining.logs.event_log import encode_event, encode_header, prepare_event_file
from trainer.pretraining.logs.growing_file import GrowingFile
from trainer.run_folder import METRICS


class MetricsLog:
    """Appends to the run's metrics.jsonl, and the same to its TensorBoard events.

    ``done``: how many steps the run has behind it; ``seconds``: how long they took; ``text``: what
    it held then, None where only its file knows. ``resumed``: the objects of those steps.
    """

    def __init__(self, output: str, done: int, seconds: float, text: str | None = None):
        self._path = files.join(output, METRICS)
        lines = read_metrics(output) if text is None else _parse(text.encode(), self._path)
        kept = [line for line in lines if line["step"] <= done]
        self.resumed, self._written = kept, [*map(_encode_line, kept)]
        self._lines = GrowingFile(self._path, self.text().encode())
        self._began = began = time.time() - seconds
        events = [encode_header(began), *(encode_event(line, began) for line in kept)]
        self._events = GrowingFile(prepare_event_file(output), b"".join(events))

    def text(self) -> str:
        """All of metrics.jsonl."""
        return "".join(self._written)

    def write(self, line: dict[str, Any]) -> None:
        """Adds one object. Raises UserError if there is no room for it."""
        self._written.append(_encode_line(line))
        try:
            self._lines.write(self._written[-1].encode())
            self._events.write(encode_event(line, self._began))
        except OSError as error:
            raise UserError(
                f"{self._path} could not be written ({error.strerror or error}); make room and run "
                "the same command again: it resumes from its last checkpoint"
            ) from None

    def publish(self) -> None:
        """Makes remote files show all that was written before. Raises UserError if it cannot."""
        self._lines.publish()
        self._events.publish()

    def close(self) -> None:
        """Closes the files."""
        self._lines.close()
        self._events.close()


def read_metrics(output: str) -> list[dict[str, Any]]:
    """The objects of a run's metrics.jsonl; an incomplete last line is left out.

    Raises UserError for a line that no run writes, and for what a finished run did not write.
    """
    path = files.join(output, METRICS)
    if not files.exists(path):
        check_files(output, (METRICS,))  # It may be listed.
        return []
    with checked_file(output, METRICS) as local:
        return _parse(files.read_bytes(local), path)


def _parse(content: bytes, path: str) -> list[dict[str, Any]]:
    complete = content.split(b"\n")[:-1]
    return [_parse_line(line, f"{path}, line {number}") for number, line in enumerate(complete, 1)]


def _parse_line(line: bytes, source: str) -> dict[str, Any]:
    fix = "put the file back, or delete it: only what it says of the steps before is lost"
    values = parse_json(line, source, fix)
    if type(values.get("step")) is not int or "loss" not in values:
        raise UserError(f"{source} is damaged: not a step's; {fix}")
    for name, value in values.items():
        if not isinstance(value, int | float) or abs(value) >= 1 << 63:
            raise UserError(f"{source} is damaged: {name} is {str(value)[:40]!r}; {fix}")
    return values


def _encode_line(line: dict[str, Any]) -> str:
    return json.dumps(line) + "\n"
