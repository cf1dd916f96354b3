"""Records of named fields: JSON lines, CSV and TSV tables, and Parquet.

What corpora and labelled texts have in common. A record comes with its location, for messages; what is
no record is a ``BadRecord``. A field of a table is a column's name or, where all names asked for are
numbers, its number from 1 in a table without a header, such as CoLA's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import orjson

from pipelines.documents.bad_record import BadRecord, Location, invalid_utf8, no_such_name
from pipelines.documents.line_ranges import FileRange, find_location, read_lines
from pipelines.documents.tables import Record, read_parquet, read_table
from pipelines.text.utf8 import encode_text

FORMATS = {
    ".jsonl": "jsonl",
    ".json": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
}
"""Extensions, without that of a compression, and what they stand for."""


def read_fields(
    where: FileRange, kind: str, wanted: Mapping[str, str], *, exact_integers: bool = False
) -> Iterator[tuple[Location, Record | BadRecord]]:
    """(location, record) of each record of a file, or of a range of a jsonl file.

    ``wanted``: the fields to read, by the options that name them. ``exact_integers``: keep all
    digits of integers in JSON, which beyond 64 bits become floats otherwise; slower. Raises
    UserError for a table without the wanted columns.
    """
    if kind == "jsonl":
        return _json_records(where, exact_integers)
    if kind == "parquet":
        return read_parquet(where.path, wanted)
    return read_table(where, kind, wanted)


def field_of(record: Record | BadRecord, name: str, option: str, location: Location) -> Any:
    """The value of the field that ``option`` names, or a BadRecord."""
    if isinstance(record, BadRecord):
        return record
    if name not in record:
        return BadRecord(
            "missing_field", f"{location()}: no field {no_such_name(name, option, record)}"
        )
    return record[name]


def text_of(
    record: Record | BadRecord, name: str, option: str, location: Location
) -> bytes | BadRecord:
    """The text in the field that ``option`` names, as UTF-8, or a BadRecord."""
    text = field_of(record, name, option, location)
    if isinstance(text, str):
        return encode_text(text)
    if isinstance(text, BadRecord):
        return text
    return BadRecord(
        "not_text",
        f"{location()}: field {name!r} holds {show_value(text)}, not text; correct the record or "
        f"name another field with --{option}",
    )


def show_value(value: Any) -> str:
    """A value as JSON, shortened, for messages."""
    return json.dumps(value, default=str)[:40]


def _json_records(where: FileRange, exact: bool) -> Iterator[tuple[Location, Record | BadRecord]]:
    for number, line in read_lines(where):
        location = partial(find_location, where, number)
        if isinstance(line, BadRecord):
            yield location, line
        elif line.strip():
            yield location, _parse_json(line, exact, location)


def _parse_json(line: bytes, exact: bool, location: Location) -> Record | BadRecord:
    try:
        record = json.loads(line.decode()) if exact else orjson.loads(line)
    except UnicodeDecodeError as error:
        return invalid_utf8(error, location)
    except (ValueError, RecursionError) as error:
        if not exact:
            # The standard library knows NaN and lone surrogates too.
            return _parse_json(line, True, location)
        reason = re.sub(r": line 1 (column \d+).*", r" at \1", str(error))
        return BadRecord(
            "invalid_json", f"{location()}: not valid JSON ({reason}); write one JSON object a line"
        )
    if isinstance(record, dict):
        return record
    return BadRecord(
        "invalid_json", f"{location()}: not a JSON object; write one JSON object a line"
    )
