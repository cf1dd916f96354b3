"""How far a loop has come: a bar where there is a terminal, else a line now and then."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TextIO, TypeVar

from tqdm import tqdm

Item = TypeVar("Item")

_SECONDS_BETWEEN_LINES = 30.0
_LINE = "{desc}: {n_fmt} of {total_fmt} {unit}, {remaining} left{postfix}"


def fits_a_bar(stream: TextIO) -> bool:
    """Whether this is a terminal that says how wide it is; those of some containers do not, and a bar
    of no width shows nothing."""
    try:
        return stream.isatty() and os.get_terminal_size(stream.fileno()).columns > 0
    except (OSError, ValueError):
        return False


def track(items: Sequence[Item], description: str, unit: str) -> tqdm[Item]:
    """The items, to be taken in a loop whose progress is shown on standard error and then erased."""
    options: dict[str, Any] = {"desc": description, "unit": unit, "leave": False}
    if fits_a_bar(sys.stderr):
        return tqdm(items, dynamic_ncols=True, **options)
    pause = _SECONDS_BETWEEN_LINES
    options |= {"file": _Lines(), "bar_format": _LINE, "mininterval": pause, "delay": pause}
    options["miniters"] = 1  # Else tqdm's monitor repeats lines that it finds too old.
    return tqdm(items, **options)


@dataclass(frozen=True)
class Phase:
    """What a command is doing, and how far it has come with it.

    total: how much there is; 0 where nobody knows. unit: of both. note: what else there is to say.
    """

    what: str
    done: float = 0
    total: float = 0
    unit: str = ""
    note: str = ""


def describe_progress(phase: Phase, seconds: float, columns: int) -> str:
    """A phase after so many seconds: a bar that fits into ``columns``, or with 0 of them a line.

    >>> describe_progress(Phase("tokenize: reading", 30, 120, "MB", "7 documents"), 10, 0)
    'tokenize: reading: 30 of about 120 MB, 3.0 MB/s, 00:30 left, 7 documents'
    """
    done, total, unit, note = phase.done, phase.total, phase.unit, phase.note
    if columns and total:
        return tqdm.format_meter(
            *(min(done, total), total, seconds, columns - 1),
            prefix=phase.what,
            unit=f" {unit}",
            postfix=note,
            bar_format="{desc}: {percentage:3.0f}%|{bar}| {n:,.0f}/{total:,.0f}{unit} "
            "[{elapsed}<{remaining}, {rate_fmt}]{postfix}",
        )
    parts = [phase.what]
    if done:
        parts.append(f"{done:,.0f}{f' of about {total:,.0f}' if total else ''} {unit}")
        rate = done / max(seconds, 1e-9)
        left = f", {tqdm.format_interval(max(0.0, total - done) / rate)} left" if total else ""
        parts[-1] += f", {rate:,.{0 if rate >= 100 else 1}f} {unit}/s{left}"
    else:
        parts.append(f"{seconds:,.0f} s")
    return ": ".join(parts) + (f", {note}" if note else "")


class _Lines:
    """A file for tqdm of which every new state is a line of its own."""

    def __init__(self) -> None:
        self._last = ""

    def write(self, text: str) -> None:
        line = text.strip("\r\n ")
        if line and line != self._last:
            print(line, file=sys.stderr, flush=True)
            self._last = line

    def flush(self) -> None:
        pass
