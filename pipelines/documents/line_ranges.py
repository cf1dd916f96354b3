"""The lines of a file, or of a range of its bytes: how workers share one large file.

A line belongs to the range that it begins in, so ranges that cover a file give each line once.
Lines end at ``\\n`` only: real text holds U+0085 and other characters that Python's ``splitlines``
breaks at.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import IO

from pipelines.documents.bad_record import BadRecord, too_long
from pipelines.documents.open_content import open_content, refuse_other_content

# A few kilobytes that are compressed can hold a line that fills the memory.
LONGEST_RECORD = 64 << 20


@dataclass(frozen=True)
class FileRange:
    """The lines of a file that begin at byte ``start`` <= position < ``end`` (None: to the end).

    ``longest``: how many bytes a record in it may have.
    """

    path: str
    start: int = 0
    end: int | None = None
    longest: int = LONGEST_RECORD


def read_lines(where: FileRange) -> Iterator[tuple[int, bytes | BadRecord]]:
    """(line number within the range from 1, line without its end) of each line.

    Of a line longer than a record may be no more than that is ever in memory. Raises UserError for a
    file that begins like an archive.
    """
    with open_content(where.path) as content:
        position = where.start
        if where.start:
            # A line belongs to the range it begins in; the byte before tells if one begins here.
            content.seek(where.start - 1)
            position += _skip_line(content) - 1
        number = 0
        while where.end is None or position < where.end:
            line = content.readline(where.longest + 2)
            if not line:
                return
            number += 1
            text = line[:-1] if line.endswith(b"\n") else line
            text = text[:-1] if text.endswith(b"\r") else text
            if position == 0:
                refuse_other_content(where.path, text)
                text = text.removeprefix(b"\xef\xbb\xbf")
            position += len(line)
            is_whole = line.endswith(b"\n") or len(line) < where.longest + 2
            if is_whole and len(text) <= where.longest:
                yield number, text
            else:
                position += 0 if is_whole else _skip_line(content)
                yield number, too_long(where.longest, partial(find_location, where, number))


def _skip_line(content: IO[bytes]) -> int:
    """Reads to the end of a line; how many bytes that were."""
    size = 0
    while piece := content.readline(1 << 20):
        size += len(piece)
        if piece.endswith(b"\n"):
            break
    return size


def find_location(where: FileRange, number: int) -> str:
    """``file:line``; the lines before a range are counted only now that someone needs them."""
    before = 0
    if where.start:
        with open_content(where.path) as content:
            remaining = where.start
            while remaining > 0 and (chunk := content.read(min(1 << 20, remaining))):
                before += chunk.count(b"\n")
                remaining -= len(chunk)
            content.seek(where.start - 1)
            before += content.read(1) != b"\n"
    return f"{where.path}:{before + number}"
