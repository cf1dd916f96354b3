"""The documents of a file: plain text, WikiExtractor output, or a field of each record, one by one.

Each is either the UTF-8 text of a document or a ``BadRecord`` that says why there is none, with file
and line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Literal

from pipelines.documents import fields
from pipelines.documents.bad_record import BadRecord, invalid_utf8
from pipelines.documents.fields import place_of, read_fields, text_of
from pipelines.documents.line_ranges import FileRange, find_place, read_lines
from pipelines.documents.open_content import named_errors, open_content, split_extension

Format = Literal["auto", "text", "jsonl", "csv", "tsv", "parquet", "wikiextractor"]
_EXTENSIONS = {**fields.FORMATS, ".txt": "text", ".text": "text"}
_WIKI_START = re.compile(rb"<doc [^\n]*>\s*$")


@dataclass(frozen=True)
class InputFormat:
    """How documents stand in files (the fields of the stages' configs that say so)."""

    input_format: str = "auto"
    text_field: str = "text"
    document_boundary: str = "line"
    on_bad_record: str = "fail"
    filter: str | None = None


def resolve_format(path: str, input_format: str) -> str:
    """The format of one file: as asked, else by its extension, else by how it begins."""
    if input_format != "auto":
        return input_format
    known = _EXTENSIONS.get(split_extension(path)[0])
    if known:
        return known
    with named_errors(path), open_content(path) as content:
        head = content.read(4096).lstrip(b"\xef\xbb\xbf \t\r\n")
    if head.startswith(b"{"):
        return "jsonl"
    if head.startswith(b"PAR1"):
        return "parquet"
    if head.startswith(b"<doc "):
        return "wikiextractor"
    return "text"


def read_records(where: FileRange, options: InputFormat) -> Iterator[bytes | BadRecord]:
    """The UTF-8 text of each document of a range, or why there is none."""
    kind = resolve_format(where.path, options.input_format)
    with named_errors(where.path):
        if kind == "wikiextractor":
            yield from _wiki_texts(where)
        elif kind == "text":
            yield from _plain_texts(where, options.document_boundary)
        else:
            yield from _field_texts(where, kind, options.text_field)


def _field_texts(where: FileRange, kind: str, name: str) -> Iterator[bytes | BadRecord]:
    for number, record in read_fields(where, kind, {"text_field": name}):
        text: bytes | BadRecord
        if isinstance(record, BadRecord):
            text = record
        else:
            try:
                text = text_of(record, name, "text_field", partial(place_of, where, kind, number))
            except BadRecord as bad:
                text = bad
        yield text


def _check_utf8(text: bytes, where: FileRange, number: int) -> bytes | BadRecord:
    try:
        text.decode()
    except UnicodeDecodeError as error:
        return invalid_utf8(error, find_place(where, number))
    return text


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
                    f"{find_place(where, number)}: text outside <doc …> and </doc>; "
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
            f"{find_place(where, started)}: the article that begins here has no </doc>; "
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
