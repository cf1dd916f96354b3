"""The documents of a file: plain text, WikiExtractor output, or a field of each record, one by one.

Each is either the UTF-8 text of a document or a ``BadRecord`` that says why there is none, with file
and line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial

from pipelines.documents import fields
from pipelines.documents.bad_record import BadRecord, Location, decode, too_long
from pipelines.documents.config import InputFormat
from pipelines.documents.fields import read_fields, text_of
from pipelines.documents.line_ranges import FileRange, find_location, read_lines
from pipelines.documents.open_content import named_errors, open_content, split_extension

_EXTENSIONS = {**fields.FORMATS, ".txt": "text", ".text": "text"}
_BEGINNINGS = {b"{": "jsonl", b"PAR1": "parquet", b"<doc ": "wikiextractor"}
_WIKI_START = re.compile(rb"<doc [^\n]*>\s*$")
_WIKI_BEGINNING = re.compile(rb'<doc id="[^\n]*>\r?\n')


def resolve_format(path: str, input_format: str) -> str:
    """The format of one file: as asked, else by its extension and by how it begins."""
    if input_format != "auto":
        return input_format
    kind = _EXTENSIONS.get(split_extension(path)[0])
    if kind not in (None, "text"):
        return kind
    with named_errors(path), open_content(path) as content:
        head = content.read(4096).lstrip(b"\xef\xbb\xbf \t\r\n")
    if kind == "text":
        return "wikiextractor" if _WIKI_BEGINNING.match(head) else "text"
    return next((kind for start, kind in _BEGINNINGS.items() if head.startswith(start)), "text")


def read_records(where: FileRange, options: InputFormat) -> Iterator[bytes | BadRecord]:
    """The UTF-8 text of each document of a range, or why there is none."""
    kind = resolve_format(where.path, options.input_format)
    where = replace(where, longest=options.max_record_bytes)
    with named_errors(where.path):
        if kind == "wikiextractor":
            yield from _wiki_texts(where)
        elif kind == "text":
            yield from _plain_texts(where, options.document_boundary)
        else:
            name = options.text_field
            for location, record in read_fields(where, kind, {"text_field": name}):
                text = text_of(record, name, "text_field", location)
                # Only Parquet may hold longer ones.
                is_long = isinstance(text, bytes) and len(text) > where.longest
                yield too_long(where.longest, location) if is_long else text


@dataclass
class _Lines:
    """The lines of one document, of which ``number`` is the first; no more than a record may have."""

    where: FileRange
    number: int
    lines: list[bytes] = field(default_factory=list)
    size: int = 0

    def add(self, line: bytes | BadRecord) -> None:
        """Adds a line, or one that was too long itself."""
        self.size += self.where.longest + 2 if isinstance(line, BadRecord) else len(line) + 1
        if isinstance(line, bytes) and not self._is_too_long():
            self.lines.append(line)

    def text(self) -> bytes | BadRecord:
        """The lines together, if they are a record."""
        location = partial(find_location, self.where, self.number)
        if self._is_too_long():
            return too_long(self.where.longest, location)
        return _check_utf8(b"\n".join(self.lines), location)

    def _is_too_long(self) -> bool:
        return self.size > self.where.longest + 1


def _check_utf8(text: bytes | BadRecord, location: Location) -> bytes | BadRecord:
    checked = text if isinstance(text, BadRecord) else decode(text, location)
    return checked if isinstance(checked, BadRecord) else text


def _wiki_texts(where: FileRange) -> Iterator[bytes | BadRecord]:
    """The articles between ``<doc …>`` and ``</doc>``, without the title line they begin with."""
    article: _Lines | None = None
    for number, line in read_lines(where):
        text = b"" if isinstance(line, BadRecord) else line
        if article is not None and text.strip() == b"</doc>":
            lines = article.lines
            # WikiExtractor repeats the title as the first line, followed by an empty one.
            if len(lines) > 1 and not lines[1].strip():
                del lines[:2]
            body = article.text()
            yield body.strip(b"\n") if isinstance(body, bytes) else body
            article = None
        elif article is not None:
            article.add(line)
        elif isinstance(line, BadRecord):
            yield line
        elif _WIKI_START.match(line):
            article = _Lines(where, number)
        elif line.strip():
            yield BadRecord(
                "outside_article",
                f"{find_location(where, number)}: text outside <doc …> and </doc>; "
                "is this WikiExtractor output? choose the --input_format",
            )
    if article is not None:
        yield BadRecord(
            "unfinished_article",
            f"{find_location(where, article.number)}: the article that begins here has no </doc>; "
            "the file is truncated, make it again",
        )


def _plain_texts(where: FileRange, boundary: str) -> Iterator[bytes | BadRecord]:
    """The lines, the paragraphs between blank lines, or all lines together."""
    paragraph: _Lines | None = None
    for number, line in read_lines(where):
        if boundary == "line":
            yield _check_utf8(line, partial(find_location, where, number))
        elif boundary == "blank_line" and isinstance(line, bytes) and not line.strip():
            if paragraph:
                yield paragraph.text()
            paragraph = None
        else:
            paragraph = paragraph or _Lines(where, number)
            paragraph.add(line)
    if paragraph:
        yield paragraph.text()
