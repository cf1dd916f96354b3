"""SIGTERM and Ctrl-C as a wish to stop after a checkpoint."""

from __future__ import annotations

import signal
import sys
from typing import Any

# sysexits.h: a temporary failure; start the same command again.
EXIT_RESTART = 75


class StopSignals:
    """Notes SIGTERM and Ctrl-C, so that the loop can end after a checkpoint. A second one kills."""

    def __init__(self) -> None:
        self._number: int | None = None
        self._before = {
            number: signal.signal(number, self._note) for number in (signal.SIGTERM, signal.SIGINT)
        }

    def _note(self, number: int, frame: Any) -> None:
        self._number = number
        for again in self._before:
            signal.signal(again, signal.SIG_DFL)

    def restore(self) -> None:
        """Puts back what was to happen on signals before."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @property
    def asked(self) -> bool:
        """True once a signal came."""
        return self._number is not None

    def leave(self) -> None:
        """Ends the process as the signal wants: 75 after SIGTERM, 130 after Ctrl-C."""
        if self._number == signal.SIGINT:
            raise KeyboardInterrupt
        sys.exit(EXIT_RESTART)
