"""The rows of tables as records of named fields: csv, tsv and Parquet.

``wanted`` are the columns to read, by the options that name them. A table without one of them, or
with two of one name, raises UserError.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from pipelines.documents.bad_record import BadRecord, Location, decode, invalid_utf8, no_such_name
from pipelines.documents.line_ranges import FileRange, find_location, read_lines
from pipelines.documents.open_content import open_content, refuse_other_content, split_extension
from pipelines.errors import UserError

Record = Mapping[str, Any]

csv.field_size_limit(2**31 - 1)


def read_table(
    file: FileRange, kind: str, wanted: Mapping[str, str]
) -> Iterator[tuple[Location, Record | BadRecord]]:
    """(location, row) of each row of a whole csv or tsv file.

    Rows are by the names in the first one or, where all names ``wanted`` are numbers, by the numbers
    of their columns from 1; then the first row is one like the others.
    """
    numbered = all(name.isdecimal() for name in wanted.values())
    header: list[str] = []
    for number, row in (_csv_rows if kind == "csv" else _tsv_rows)(file):
        location = partial(find_location, file, number)
        if isinstance(row, BadRecord):
            if not header:
                raise UserError(row.message)
            yield location, row
            continue
        if not header:
            header = [str(i) for i in range(1, len(row) + 1)] if numbered else row
            _check_columns(header, wanted, location())
            if not numbered:
                continue
        if len(row) == len(header):
            yield location, dict(zip(header, row, strict=True))
        else:
            problem = (
                f"{location()}: {len(row)} columns, the first line has {len(header)}; correct "
                "the line (a csv field that holds commas needs quotation marks)"
            )
            yield location, BadRecord("wrong_columns", problem)


def _check_columns(names: Sequence[str], wanted: Mapping[str, str], location: str) -> None:
    for option, name in wanted.items():
        if name not in names:
            raise UserError(f"{location}: no column {no_such_name(name, option, names)}")
        if names.count(name) > 1:
            raise UserError(f"{location}: {names.count(name)} columns {name!r}; rename all but one")


def _tsv_rows(file: FileRange) -> Iterator[tuple[int, list[str] | BadRecord]]:
    # As GLUE writes them: no quoting, so that a line is a row and a quotation mark a character.
    for number, line in read_lines(file):
        text: str | BadRecord = (
            line
            if isinstance(line, BadRecord)
            else decode(line.rstrip(b"\r"), partial(find_location, file, number))
        )
        if text:
            yield number, text if isinstance(text, BadRecord) else text.split("\t")


def _csv_rows(file: FileRange) -> Iterator[tuple[int, list[str] | BadRecord]]:
    with open_content(file.path) as content:
        buffered: Any = content
        refuse_other_content(file.path, buffered.peek(512))
        # Bytes that are no UTF-8 are kept as surrogates, to be found in their row.
        text = io.TextIOWrapper(buffered, "utf-8-sig", "surrogateescape", newline="")
        size = 0  # of the lines of a row

        def lines() -> Iterator[str]:
            """Raises csv.Error where a row has more of them than a record may have."""
            nonlocal size
            while line := text.readline(file.longest + 3):
                size += len(line)
                if size > file.longest + 2:
                    raise csv.Error(f"a row of more than {file.longest:,} characters")
                yield line

        reader = csv.reader(lines(), strict=True)
        while True:
            size = 0
            number = reader.line_num + 1
            try:
                row = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                # Where the next row begins is unknown: this is no single record to drop.
                raise UserError(
                    f"{file.path}:{number}: not valid CSV ({error}); correct the line"
                ) from None
            stored = "".join(row).encode("utf-8", "surrogateescape")
            checked = decode(stored, partial(find_location, file, number))
            if row:
                yield number, checked if isinstance(checked, BadRecord) else row


def read_parquet(
    path: str, wanted: Mapping[str, str]
) -> Iterator[tuple[Location, Record | BadRecord]]:
    """(location, the wanted fields) of each row of a Parquet file."""
    with open_parquet(path) as table:
        _check_columns(table.schema_arrow.names, wanted, path)
        for option, name in wanted.items():
            kind = table.schema_arrow.field(name).type
            if option != "label_field" and not _is_text(kind):
                raise UserError(
                    f"{path}: column {name!r} holds {kind}, not text; name another with --{option}"
                )
        number = 0
        columns = list(dict.fromkeys(wanted.values()))
        for batch in table.iter_batches(batch_size=1024, columns=columns):
            for record in _decode_rows(batch, path, number):
                number += 1
                yield partial(_row_location, path, number), record
        if number != table.metadata.num_rows:
            # Arrow believes the counts of the row groups, which may leave rows out.
            raise ValueError(f"it counts {table.metadata.num_rows} rows, {number} are there")


@contextmanager
def open_parquet(path: str) -> Iterator[Any]:
    """A Parquet file, compressed as a whole or not, as a ``pyarrow.parquet.ParquetFile``.

    Raises UserError for whatever is found to be wrong with it in the block.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    with open_content(path) as content:
        # Parquet is read from its end, which only a file that is not compressed lets us do.
        in_place = not split_extension(path)[1] and content.seekable()
        try:
            yield pq.ParquetFile(content if in_place else io.BytesIO(content.read()))
        except UserError:
            raise
        except (pa.ArrowException, ValueError, KeyError, OverflowError) as error:
            reason = (str(error) or type(error).__name__).split("\n")[0][:120]
            raise UserError(
                f"{path}: damaged or not a valid Parquet file ({reason}); make it again"
            ) from None


def _row_location(path: str, number: int) -> str:
    return f"{path}: row {number}"


def _is_text(kind: Any) -> bool:
    """Whether a column of this Arrow type holds text, written out or as a dictionary."""
    return str(getattr(kind, "value_type", kind)) in ("string", "large_string", "string_view")


def _decode_rows(batch: Any, path: str, before: int) -> list[Record | BadRecord]:
    """The rows of a Parquet batch, one by one where they hold text that is no UTF-8."""
    try:
        return batch.to_pylist()
    except UnicodeDecodeError as error:
        if len(batch) == 1:
            return [invalid_utf8(error, partial(_row_location, path, before + 1))]
        rows = (_decode_rows(batch.slice(i, 1), path, before + i) for i in range(len(batch)))
        return [row for one in rows for row in one]
