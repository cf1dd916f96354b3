"""Batches made ahead of the device, in a thread."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from trainer.data.batches import Batch

_AHEAD = 2


class Prefetcher:
    """Iterates over the batches of steps ``start`` … ``stop`` - 1, made in a thread.

    At most two batches exist ahead of the consumer. An error in the thread is raised to the
    consumer.
    """

    def __init__(self, make: Callable[[int], Batch], start: int, stop: int):
        self._make, self._steps = make, iter(range(start, stop))
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="batches")
        self._coming: deque[Future[Batch]] = deque()
        self._waited = 0.0
        for _ in range(_AHEAD):
            self._make_next()

    def _make_next(self) -> None:
        step = next(self._steps, None)
        if step is not None:
            self._coming.append(self._thread.submit(self._make, step))

    def __iter__(self) -> Iterator[Batch]:
        while self._coming:
            began = time.perf_counter()
            batch = self._coming.popleft().result()
            self._waited += time.perf_counter() - began
            self._make_next()
            yield batch

    def take_waited(self) -> float:
        """The seconds that the consumer has waited since the last call."""
        waited, self._waited = self._waited, 0.0
        return waited

    def close(self) -> None:
        """Stops the thread, once the batch that it is making is done."""
        self._thread.shutdown(cancel_futures=True)
