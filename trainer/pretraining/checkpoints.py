"""Checkpoints: everything a run needs to resume as if nothing had happened.

One file a checkpoint, ``checkpoints/step-00001000.npz``: named arrays and a JSON record, nothing
that could execute code, with a SHA-256 of all of it. It appears whole or not at all, on a disk as at
``gs://``, and an older one is deleted only once it is there. Writing happens in a thread, beside
training.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import UserError, one_line
from pipelines.records.shards import DamagedShardError
from pipelines.storage import files
from pipelines.storage.array_file import read_arrays
from pipelines.storage.json_file import parse_json
from trainer.pretraining.logs.meter import NEXT_SENTENCE_VALUES, STEP_VALUES
from trainer.run_folder import CHECKPOINTS

_NAME = re.compile(r"step-(\d{8,})\.npz")
_RECORD = "record.json"
_DIGEST = "sha256"
# How many figures a step in a window may have: of either kind of model, the update's share and, where
# steps may be skipped, their count. Steps of earlier versions lack the share: one window may hold both.
_FIGURES = {len(STEP_VALUES + more) + n for more in ((), NEXT_SENTENCE_VALUES) for n in (0, 1, 2)}


class DamagedCheckpointError(UserError):
    """A checkpoint that cannot be read."""


class Checkpoints:
    """The checkpoints in the output folder of a run, local or ``gs://``.

    ``keep``: how many to keep, newest first; at least 1.
    """

    def __init__(self, output: str, keep: int = 1):
        self._folder = files.join(output, CHECKPOINTS)
        self._keep = keep
        self._last_good = 0
        self._writer = ThreadPoolExecutor(1)
        self._writing: Future[None] | None = None

    def steps(self) -> list[int]:
        """The steps of all complete checkpoints, ascending."""
        names = files.names_in(self._folder)
        return sorted(int(match[1]) for name in names if (match := _NAME.fullmatch(name)))

    def path(self, step: int) -> str:
        """Where the checkpoint after ``step`` steps is."""
        return files.join(self._folder, f"step-{step:08d}.npz")

    def save(
        self,
        step: int,
        arrays: Mapping[str, NDArray[Any]],
        record: Any,
        before: Callable[[], None] | None = None,
    ) -> None:
        """Begins to write the state after ``step`` steps; ``record`` is JSON.

        ``before`` is called first, in the thread that writes: the checkpoint appears only if that
        succeeds. The arrays must not change afterwards. Waits for the previous write, and raises its
        UserError if it failed.
        """
        self.wait()
        # A copy: what the record is made of goes on changing.
        record = json.loads(json.dumps(record))
        self._writing = self._writer.submit(self._write, step, dict(arrays), record, before)

    def wait(self) -> None:
        """Waits until the checkpoint is written. Raises UserError if it could not be."""
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def _write(
        self,
        step: int,
        arrays: dict[str, NDArray[Any]],
        record: Any,
        before: Callable[[], None] | None,
    ) -> None:
        path = self.path(step)
        try:
            if before:
                before()
            files.make_folder(self._folder)
            surplus = sorted({*self.steps(), step})[: -self._keep]
            with files.publish(path) as temporary, open(temporary, "wb") as file:
                signed = {**record, _DIGEST: _digest(arrays, record)}
                data = np.frombuffer(json.dumps(signed).encode(), np.uint8)
                np.savez(file, **{_RECORD: data}, **arrays)  # type: ignore[arg-type]
            self._last_good = step
            files.delete([self.path(old) for old in surplus])
        except DamagedShardError:  # from ``before``: says it all
            raise
        except (OSError, UserError) as error:
            reason = getattr(error, "strerror", None) or error
            good = f"the one of step {self._last_good} is good: " if self._last_good else ""
            fix = "make room and " if isinstance(error, OSError) else ""
            raise UserError(
                f"checkpoint {path} could not be written ({reason}); {good}{fix}run the same command "
                "again"
            ) from None

    def newest(self) -> int:
        """The step of the newest readable checkpoint, 0 if there is none.

        A damaged one is passed over with a line on standard error.
        """
        for step in reversed(self.steps()):
            try:
                self.load(step)
            except DamagedCheckpointError as error:
                print(f"pretrain: {error}; going back to the one before", file=sys.stderr)
                continue
            self._last_good = step
            return step
        return 0

    def load(self, step: int) -> tuple[dict[str, NDArray[Any]], Any]:
        """(arrays, record) of the checkpoint after ``step`` steps.

        Raises DamagedCheckpointError, a UserError, if it is damaged.
        """
        path = self.path(step)
        with files.local_file(path) as local:
            try:
                arrays = read_arrays(local)
                record = parse_json(arrays.pop(_RECORD).tobytes(), _RECORD, "it is not ours")
                # Those of earlier versions have none.
                digest = record.pop(_DIGEST, None)
                _check_state(step, arrays, record)
                if digest not in (None, _digest(arrays, record)):
                    raise ValueError("it is not as it was saved")
            except (ValueError, KeyError) as error:
                reason = one_line(error).removeprefix(f"{local} is damaged (").removesuffix(")")
                raise DamagedCheckpointError(
                    f"checkpoint {path} is damaged ({reason[:200]})"
                ) from None
        return arrays, record

    def delete_all(self) -> None:
        """Removes every checkpoint."""
        files.delete([self.path(step) for step in self.steps()])

    def delete_remains(self) -> None:
        """Removes the temporary files of writers that were killed."""
        files.delete_temporaries(self._folder)


def _digest(arrays: Mapping[str, NDArray[Any]], record: Any) -> str:
    """The SHA-256 of everything in a checkpoint."""
    digest = hashlib.sha256(json.dumps(record, sort_keys=True).encode())
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def _check_state(step: int, arrays: Mapping[str, NDArray[Any]], record: Mapping[str, Any]) -> None:
    """Raises ValueError for what no run has saved after ``step`` steps, though the file be whole."""
    for name, array in arrays.items():
        if array.dtype.kind not in "fiub" or not np.isfinite(array).all():
            raise ValueError(f"{name} holds what is no number")
        if name.endswith("/iteration") and array.tolist() != step:
            raise ValueError(f"it was saved after step {array.tolist()!r}")
    window, seconds, config = (record.get(name) for name in ("window", "seconds", "config"))
    if not isinstance(config, dict) or not _are_numbers([seconds]):
        raise ValueError(f"{_RECORD} lacks the config or the time of the run")
    if not isinstance(record.get("log", ""), str):
        raise ValueError(f"the log in {_RECORD} is no text")
    last = config.get("steps", step)
    if not isinstance(last, int) or last < step:
        raise ValueError(f"the run has {last!r} steps")
    if (
        not isinstance(window, list)
        or not all(map(_are_numbers, window))
        or not (lengths := {*map(len, window)}) <= _FIGURES
        or max(lengths, default=0) - min(lengths, default=0) > 1
    ):
        raise ValueError(f"the window in {_RECORD} does not hold the figures of steps")


def _are_numbers(values: Any) -> bool:
    return isinstance(values, list) and all(
        isinstance(value, float) and math.isfinite(value) for value in values
    )
