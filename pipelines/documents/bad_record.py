"""What is no record: dropped and counted by its reason, or told to the user with file and line."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pipelines.errors import nearest


class BadRecord(Exception):  # noqa: N818 - it is a record, dropped or reported
    """A record that cannot be used: ``reason`` is a counter's name, the message tells the user."""

    def __init__(self, reason: str, message: str):
        super().__init__(message)
        self.reason = reason


def invalid_utf8(error: UnicodeDecodeError, place: str) -> BadRecord:
    """The record for text that cannot be decoded."""
    byte = error.object[error.start]
    return BadRecord(
        "invalid_utf8",
        f"{place}: not valid UTF-8 (byte 0x{byte:02x} at position {error.start} of the record); "
        "convert the file, e.g. with iconv",
    )


def no_such_name(name: str, option: str, names: Iterable[Any]) -> str:
    """What to say of a name that is not among ``names``, and which option to set."""
    known = list(map(str, names))
    close = nearest(name, known).rstrip("?")
    return f"{name!r} (there are {', '.join(known) or 'none'}){close}; name it with --{option}"
