"""Batches made one step ahead of the device, in a thread."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator

from trainer.data.batches import Batch


class Prefetcher:
    """Iterates over the batches of steps ``start`` … ``stop`` - 1, made ahead in a thread.

    At most two batches exist ahead of the consumer. An error in the thread is raised to the
    consumer.
    """

    def __init__(self, make: Callable[[int], Batch], start: int, stop: int):
        self._waited = 0.0
        self._queue: queue.Queue[Batch | BaseException | None] = queue.Queue(maxsize=1)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(make, start, stop), daemon=True)
        self._thread.start()

    def _run(self, make: Callable[[int], Batch], start: int, stop: int) -> None:
        try:
            for step in range(start, stop):
                if not self._put(make(step)):
                    return
            self._put(None)
        except BaseException as error:
            self._put(error)

    def _put(self, item: Batch | BaseException | None) -> bool:
        while not self._closed.is_set():
            try:
                self._queue.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def __iter__(self) -> Iterator[Batch]:
        while True:
            began = time.perf_counter()
            item = self._queue.get()
            self._waited += time.perf_counter() - began
            if item is None:
                return
            if isinstance(item, BaseException):
                raise item
            yield item

    def take_waited(self) -> float:
        """The seconds that the consumer stood waiting since the last call."""
        waited, self._waited = self._waited, 0.0
        return waited

    def close(self) -> None:
        """Stops the thread."""
        self._closed.set()
        self._thread.join()
