"""The training rows of a run, and the shards they are in, step by step: the order of
``trainer.data.order`` over the rows that are not skipped.

Skipped rows take no place in the order: it is made over those that are left, and only then are they
numbered through all rows of their dataset.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import UserError
from trainer.data.dataset import Dataset
from trainer.data.order import NeededShards, step_rows, step_shards
from trainer.data.skipped_rows import KeptRows, keep_rows


class TrainingRows:
    """Which rows of the datasets each step trains on.

    Args:
        datasets: what is read.
        skipped: the rows of each dataset that are never trained on; None: nowhere any.
        weights, seed, batch_size, window: as for ``step_rows``.

    Attributes: ``shards``, how many rows are left in each shard of each dataset; ``weights``,
    ``batch_size`` and ``window`` as given.

    Raises UserError if nothing is left of a dataset.
    """

    def __init__(
        self,
        datasets: Sequence[Dataset],
        skipped: Sequence[NDArray[np.int64]] | None = None,
        *,
        weights: Sequence[float] | None,
        seed: int,
        batch_size: int,
        window: int | None = None,
    ):
        self._kept = count_kept(datasets, skipped)
        self.shards = [kept.shards for kept in self._kept]
        self.weights, self.batch_size, self.window = weights, batch_size, window
        self._order: dict[str, Any] = {
            "weights": weights,
            "seed": seed,
            "global_batch": batch_size,
            "shards": self.shards,
            "window": window,
        }

    def step(
        self, step: int, host: int, hosts: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Epoch, dataset and row within the dataset of each row of the host's part of a step."""
        rows_per_source = [kept.rows for kept in self._kept]
        epoch, source, row = step_rows(
            step, rows_per_source=rows_per_source, host=host, hosts=hosts, **self._order
        )
        for i, kept in enumerate(self._kept):
            if len(kept.skipped):
                of_dataset = source == i
                row[of_dataset] = kept.numbers_of(row[of_dataset])
        return epoch, source, row

    def shards_from(self, step: int) -> list[NeededShards]:
        """The shards that the windows of a step need, and those of the next, in that order."""
        return step_shards(step, **self._order)


def count_kept(
    datasets: Sequence[Dataset], skipped: Sequence[NDArray[np.int64]] | None
) -> list[KeptRows]:
    """What is left of the training rows of each dataset. Raises UserError where that is nothing."""
    none = np.empty(0, np.int64)
    all_kept = []
    for dataset, mine in zip(datasets, skipped or [none] * len(datasets), strict=True):
        kept = keep_rows(dataset.train_shards().rows, mine)
        if not kept.rows:
            raise UserError(f"--skip_rows: no training row of {dataset.folder} is left")
        all_kept.append(kept)
    return all_kept
