"""The documents of a file: plain text, WikiExtractor output, or a field of each record, one by one.

Each is either the UTF-8 text of a document or a ``BadRecord`` that says why there is none, with file
and line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial

from pipelines.documents import fields
from pipelines.documents.bad_record import BadRecord, decode
from pipelines.documents.config import InputFormat
from pipelines.documents.fields import read_fields, text_of
from pipelines.documents.line_ranges import FileRange, find_location, read_lines
from pipelines.documents.open_content import named_errors, open_content, split_extension

_EXTENSIONS = {**fields.FORMATS, ".txt": "text", ".text": "text"}
_BEGINNINGS = {b"{": "jsonl", b"PAR1": "parquet", b"<doc ": "wikiextractor"}
_WIKI_START = re.compile(rb"<doc [^\n]*>\s*$")


def resolve_format(path: str, input_format: str) -> str:
    """The format of one file: as asked, else by its extension, else by how it begins."""
    if input_format != "auto":
        return input_format
    extension = split_extension(path)[0]
    if extension in _EXTENSIONS:
        return _EXTENSIONS[extension]
    with named_errors(path), open_content(path) as content:
        head = content.read(4096).lstrip(b"\xef\xbb\xbf \t\r\n")
    return next((kind for start, kind in _BEGINNINGS.items() if head.startswith(start)), "text")


def read_records(where: FileRange, options: InputFormat) -> Iterator[bytes | BadRecord]:
    """The UTF-8 text of each document of a range, or why there is none."""
    kind = resolve_format(where.path, options.input_format)
    with named_errors(where.path):
        if kind == "wikiextractor":
            yield from _wiki_texts(where)
        elif kind == "text":
            yield from _plain_texts(where, options.document_boundary)
        else:
            name = options.text_field
            for location, record in read_fields(where, kind, {"text_field": name}):
                yield text_of(record, name, "text_field", location)


def _check_utf8(text: bytes, where: FileRange, number: int) -> bytes | BadRecord:
    checked = decode(text, partial(find_location, where, number))
    return checked if isinstance(checked, BadRecord) else text


def _wiki_texts(where: FileRange) -> Iterator[bytes | BadRecord]:
    """The articles between ``<doc …>`` and ``</doc>``, without the title line they begin with."""
    article: list[bytes] | None = None
    started = 0
    for number, line in read_lines(where):
        if article is None:
            if _WIKI_START.match(line):
                article, started = [], number
            elif line.strip():
                yield BadRecord(
                    "outside_article",
                    f"{find_location(where, number)}: text outside <doc …> and </doc>; "
                    "is this WikiExtractor output? choose the --input_format",
                )
        elif line.strip() == b"</doc>":
            # WikiExtractor repeats the title as the first line, followed by an empty one.
            body = article[2:] if len(article) > 1 and not article[1].strip() else article
            yield _check_utf8(b"\n".join(body).strip(b"\n"), where, started)
            article = None
        else:
            article.append(line)
    if article is not None:
        yield BadRecord(
            "unfinished_article",
            f"{find_location(where, started)}: the article that begins here has no </doc>; "
            "the file is truncated, make it again",
        )


def _plain_texts(where: FileRange, boundary: str) -> Iterator[bytes | BadRecord]:
    """The lines, the paragraphs between blank lines, or all lines together."""
    paragraph: list[bytes] = []
    started = 1
    for number, line in read_lines(where):
        if boundary == "line":
            yield _check_utf8(line, where, number)
        elif boundary == "blank_line" and not line.strip():
            if paragraph:
                yield _check_utf8(b"\n".join(paragraph), where, started)
            paragraph = []
        else:
            if not paragraph:
                started = number
            paragraph.append(line)
    if paragraph:
        yield _check_utf8(b"\n".join(paragraph), where, started)
