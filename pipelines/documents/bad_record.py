"""What cannot be used as a record: dropped and counted by its reason, or reported with file and line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from pipelines.errors import UserError, nearest

Location = Callable[[], str]
"""Gives ``file:line``, which may take reading the file up to there."""


@dataclass(frozen=True)
class BadRecord:
    """Why there is no record: ``reason`` is a counter's name, ``message`` a line for the user."""

    reason: str
    message: str


@dataclass
class BadRecords:
    """What becomes of bad records under ``--on_bad_record``: the first ends the command, or all are
    dropped and counted by their reason."""

    drop: bool
    counts: Counter[str] = field(default_factory=Counter)

    def add(self, bad: BadRecord) -> None:
        """Counts one. Raises UserError where they are not to be dropped."""
        if not self.drop:
            raise UserError(f"{bad.message}, or drop such records with --on_bad_record drop")
        self.counts[bad.reason] += 1

    def describe(self) -> str:
        """How many were dropped, by reason."""
        counted = [f"{reason} {count:,}" for reason, count in sorted(self.counts.items())]
        return ", ".join(counted)


def decode(text: bytes, location: Location) -> str | BadRecord:
    """The text, or what is wrong with it where it is not UTF-8."""
    try:
        return text.decode()
    except UnicodeDecodeError as error:
        return invalid_utf8(error, location)


def invalid_utf8(error: UnicodeDecodeError, location: Location) -> BadRecord:
    """The record for text that cannot be decoded."""
    byte = error.object[error.start]
    return BadRecord(
        "invalid_utf8",
        f"{location()}: not valid UTF-8 (byte 0x{byte:02x} at position {error.start} of the record); "
        "convert the file, e.g. with iconv",
    )


def too_long(most: int, location: Location) -> BadRecord:
    """The record for one that holds more bytes than are read."""
    return BadRecord("too_long", f"{location()}: longer than {most:,} bytes; split the record")


def no_such_name(name: str, option: str, names: Iterable[Any]) -> str:
    """A clause about a name that is not among ``names``, and which option to set."""
    known = list(map(str, names))
    close = nearest(name, known).rstrip("?")
    return f"{name!r} (there are {', '.join(known) or 'none'}){close}; name it with --{option}"
