"""What a run leaves out because shards are missing or damaged (``--on_bad_shard skip``): counted, and
recorded with each checkpoint.

A shard is left out from the step on where it was first found bad; with those decisions in the
checkpoint a resumed run does the same as one that was not interrupted, even where the shard has been
put right meanwhile. Of several processes each finds what it reads; checkpoints hold what all found.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.data.batches import NEVER, Batch, BatchMaker
from trainer.pretraining.cluster import Cluster

_SINCE, _ROWS = "left_out_since", "left_out_rows"


@dataclass(frozen=True)
class LeftOutSummary:
    """How many rows were left out of all steps, and the file names of the shards left out."""

    rows: int
    shards: list[str]


class LeftOut:
    """Counts the rows left out of a run.

    Args:
        maker: makes the batches.
        cluster: the processes of the run; all of them ask for figures and records at the same steps.
        watches: whether shards may be left out; if not, nothing is logged.
    """

    def __init__(self, maker: BatchMaker, cluster: Cluster, *, watches: bool):
        self._maker, self._cluster, self._watches = maker, cluster, watches
        self._before = self._mine = 0
        self.is_alone = False
        """True when other processes may not be there to be asked."""

    def add(self, batch: Batch) -> None:
        """Counts a batch that was trained on."""
        self._mine += batch.left_out

    def figures(self) -> dict[str, int]:
        """What to log: the rows left out until now."""
        return {_ROWS: self._rows()} if self._watches else {}

    def record(self, done: int) -> dict[str, Any]:
        """What to keep in the checkpoint after ``done`` steps, as JSON."""
        since = self._since()
        # Decisions of steps that are only prepared come again when those steps do.
        numbers = np.flatnonzero(since < done).tolist()
        return {_SINCE: {str(i): int(since[i]) for i in numbers}, _ROWS: self._rows()}

    def restore(self, record: Mapping[str, Any]) -> None:
        """Goes on where the checkpoint with this record was written."""
        restore_left_out(self._maker, record)
        self._before, self._mine = record.get(_ROWS, 0), 0

    def summary(self) -> LeftOutSummary:
        """What was left out of the whole run."""
        names = self._maker.shard_names()
        shards = [names[i] for i in np.flatnonzero(self._since() < NEVER)]
        return LeftOutSummary(self._rows(), shards)

    def _rows(self) -> int:
        return self._before + int(self._collect(np.array(self._mine, np.int32)).sum())

    def _since(self) -> NDArray[np.int32]:
        earliest: NDArray[np.int32] = self._collect(self._maker.left_out_since()).min(axis=0)
        return earliest

    def _collect(self, array: NDArray[np.int32]) -> NDArray[np.int32]:
        if self.is_alone or not self._watches:
            return array[None]
        return self._cluster.collect(array)


def restore_left_out(maker: BatchMaker, record: Mapping[str, Any]) -> None:
    """Has the maker leave out what the run with this checkpoint's record did, at the same steps."""
    since = maker.left_out_since()
    for number, step in record.get(_SINCE, {}).items():
        since[int(number)] = step
    maker.leave_out(since)
