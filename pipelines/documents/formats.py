"""How documents stand in files: text, jsonl, Parquet and WikiExtractor output, one by one.

Every record is either the UTF-8 text of a document or a ``BadRecord`` that says why there is none,
with file and line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pipelines import files
from pipelines.documents.line_ranges import FileRange, find_place, read_lines
from pipelines.documents.open_content import named_errors, open_content, split_extension
from pipelines.errors import UserError

_EXTENSIONS = {
    ".jsonl": "jsonl",
    ".json": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".txt": "text",
    ".text": "text",
}
_WIKI_START = re.compile(rb"<doc [^\n]*>\s*$")


@dataclass(frozen=True)
class InputFormat:
    """How documents stand in files (the fields of the stages' configs that say so)."""

    input_format: str = "auto"
    text_field: str = "text"
    document_boundary: str = "line"
    on_bad_record: str = "fail"
    filter: str | None = None


class BadRecord(Exception):  # noqa: N818 - it is a record, dropped or reported
    """A record that is no document: ``reason`` is a counter's name, the message tells the user."""

    def __init__(self, reason: str, message: str):
        super().__init__(message)
        self.reason = reason


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
        if kind == "parquet":
            yield from _parquet_texts(where.path, options.text_field)
        elif kind == "jsonl":
            for offset, number, line in read_lines(where):
                if line.strip():
                    yield _json_text(line, options.text_field, where, offset, number)
        elif kind == "wikiextractor":
            yield from _wiki_texts(where)
        else:
            yield from _plain_texts(where, options.document_boundary)


def _utf8(text: bytes, where: FileRange, number: int) -> bytes | BadRecord:
    try:
        text.decode()
    except UnicodeDecodeError as error:
        return BadRecord(
            "invalid_utf8",
            f"{find_place(where, number)}: not valid UTF-8 (byte 0x{text[error.start]:02x} at position "
            f"{error.start} of the record); convert the file, e.g. with iconv",
        )
    return text


def _json_text(
    line: bytes, text_field: str, where: FileRange, offset: int, number: int
) -> bytes | BadRecord:
    import orjson

    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        text = _utf8(line, where, number)
        if isinstance(text, BadRecord):
            return text
        return BadRecord(
            "invalid_json", f"{find_place(where, number)}: not valid JSON ({error}); mend the line"
        )
    return _field_text(record, text_field, lambda: find_place(where, number))


def _field_text(record: Any, text_field: str, place: Any) -> bytes | BadRecord:
    if not isinstance(record, dict):
        return BadRecord("invalid_json", f"{place()}: expected a JSON object on the line; mend it")
    if text_field not in record:
        fields = ", ".join(map(str, record)) or "none"
        return BadRecord(
            "missing_field",
            f"{place()}: no field {text_field!r} (fields: {fields}); name it with --text_field",
        )
    text = record[text_field]
    if not isinstance(text, str):
        return BadRecord(
            "not_text",
            f"{place()}: field {text_field!r} holds {type(text).__name__}, not text; "
            "mend the record or name another field with --text_field",
        )
    return text.encode()


def _wiki_texts(where: FileRange) -> Iterator[bytes | BadRecord]:
    """The articles between ``<doc …>`` and ``</doc>``, without the title line they begin with."""
    article: list[bytes] | None = None
    started = 0
    for _, number, line in read_lines(where):
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
            yield _utf8(b"\n".join(body).strip(b"\n"), where, started)
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
    if boundary == "line":
        for _, number, line in read_lines(where):
            yield _utf8(line, where, number)
        return
    paragraph: list[bytes] = []
    started = 1
    for _, number, line in read_lines(where):
        if boundary == "blank_line" and not line.strip():
            if paragraph:
                yield _utf8(b"\n".join(paragraph), where, started)
            paragraph = []
            continue
        if not paragraph:
            started = number
        paragraph.append(line)
    if paragraph:
        yield _utf8(b"\n".join(paragraph), where, started)


def _parquet_texts(path: str, text_field: str) -> Iterator[bytes | BadRecord]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with files.open_read(path) as raw:
        table = pq.ParquetFile(raw)
        names = table.schema_arrow.names
        if text_field not in names:
            raise UserError(
                f"{path}: no column {text_field!r} (columns: {', '.join(names)}); "
                "name it with --text_field"
            )
        kind = table.schema_arrow.field(text_field).type
        if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
            raise UserError(
                f"{path}: column {text_field!r} holds {kind}, not text; "
                "name another with --text_field"
            )
        number = 0
        for batch in table.iter_batches(batch_size=1024, columns=[text_field]):
            for value in batch.column(0).to_pylist():
                number += 1
                if value is None:
                    yield BadRecord(
                        "not_text",
                        f"{path}: row {number} of column {text_field!r} is null; mend it",
                    )
                else:
                    yield value.encode()
