"""Reads labelled texts: jsonl, csv, tsv and parquet files, compressed or not.

For the stage tokenize and for fine-tuning alike, so that both see the same examples. Every example
remembers its file and line, so that whatever turns out to be wrong with it later can be told with its
place. Lines end at ``\\n`` only. A field is a column's name, or its number (from 1) in a csv or tsv
file without a header, such as CoLA's.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from pipelines import files
from pipelines.documents.blocks import content_id
from pipelines.errors import UserError, nearest

FORMATS = (".jsonl", ".json", ".ndjson", ".csv", ".tsv", ".parquet")
Row = Mapping[str, Any]
csv.field_size_limit(2**31 - 1)


@dataclass(frozen=True)
class Fields:
    """Where a row's text, second text and label stand; empty: the rows have none."""

    text_field: str
    text_pair_field: str = ""
    label_field: str = ""


@dataclass(frozen=True)
class LabelledTexts:
    """n examples: ``texts``, their second texts (or None), labels as found (or None) and ``places``.

    ``places`` are "file:line" (for parquet "file: row number").
    """

    texts: list[str]
    pairs: list[str] | None
    labels: list[Any] | None
    places: list[str]

    def __len__(self) -> int:
        return len(self.texts)

    def select(self, rows: Sequence[int] | NDArray[np.int64]) -> LabelledTexts:
        """The examples with the given indices, in that order."""
        return LabelledTexts(
            [self.texts[i] for i in rows],
            None if self.pairs is None else [self.pairs[i] for i in rows],
            None if self.labels is None else [self.labels[i] for i in rows],
            [self.places[i] for i in rows],
        )

    def ids(self) -> NDArray[np.uint64]:
        """uint64[n]: the identity of each example's text, or of its two texts together."""
        pairs = self.pairs
        joined = (
            self.texts if pairs is None else map("\0".join, zip(self.texts, pairs, strict=True))
        )
        return np.fromiter((content_id(text.encode()) for text in joined), np.uint64, len(self))

    def empty(self) -> list[int]:
        """The indices of examples without any text (white space is none)."""
        pairs = self.pairs or [""] * len(self)
        return [i for i in range(len(self)) if not (self.texts[i].strip() or pairs[i].strip())]

    def describe_empty(self) -> str:
        """A clause for people, or nothing."""
        empty = len(self.empty())
        return f"; {empty:,} without any text" if empty else ""


def read_labelled(
    patterns: Sequence[str],
    *,
    text_field: str,
    text_pair_field: str = "",
    label_field: str = "",
    flag: str,
) -> LabelledTexts:
    """Reads all files that match, in the order of their names.

    With an empty ``label_field`` the labels are None; with an empty ``text_pair_field`` the pairs.
    ``flag`` is the option that named the files. Raises UserError, with file and line, for whatever
    cannot be read.
    """
    fields = Fields(text_field, text_pair_field, label_field)
    found = [read_file(info.path, fields, flag) for info in files.match(patterns, flag)]
    data = LabelledTexts(
        [text for part in found for text in part.texts],
        [pair for part in found for pair in part.pairs or ()] if text_pair_field else None,
        [label for part in found for label in part.labels or ()] if label_field else None,
        [place for part in found for place in part.places],
    )
    if not len(data):
        raise UserError(f"--{flag}: no examples in {', '.join(patterns)}; name other files")
    return data


def read_file(path: str, fields: Fields, flag: str) -> LabelledTexts:
    """Reads one file; it may hold no example. Otherwise as ``read_labelled``."""
    texts: list[str] = []
    pairs: list[str] | None = [] if fields.text_pair_field else None
    labels: list[Any] | None = [] if fields.label_field else None
    places: list[str] = []
    # Numbers for names: a table without a header.
    named = (fields.text_field, fields.text_pair_field, fields.label_field)
    numbered = all(name.isdecimal() for name in named if name)
    for place, row in _rows(path, flag, numbered):
        texts.append(_text(row, fields.text_field, "text_field", place))
        if pairs is not None:
            pairs.append(_text(row, fields.text_pair_field, "text_pair_field", place))
        if labels is not None:
            labels.append(_label(row, fields.label_field, place))
        places.append(place)
    return LabelledTexts(texts, pairs, labels, places)


def as_class_name(label: Any) -> str:
    """A label as text: 1 and 1.0 are the class "1", JSON's true is "true"."""
    if isinstance(label, bool):
        return str(label).lower()
    if isinstance(label, float) and label.is_integer():
        return str(int(label))
    return str(label).strip()


def _text(row: Row, field: str, option: str, place: str) -> str:
    value = _value(row, field, option, place)
    if not isinstance(value, str):
        raise UserError(
            f"{place}: field {field!r} must be a text, found "
            f"{json.dumps(value, default=str)[:40]}; correct the line or leave it out"
        )
    # A lone surrogate, which JSON can spell, is no character.
    return value.encode("utf-8", "replace").decode()


def _label(row: Row, field: str, place: str) -> Any:
    value = _value(row, field, "label_field", place)
    if value is None or isinstance(value, list | dict) or as_class_name(value) == "":
        raise UserError(
            f"{place}: field {field!r} holds no label but {json.dumps(value, default=str)[:40]}; "
            "correct the line or leave it out"
        )
    return value


def _value(row: Row, field: str, option: str, place: str) -> Any:
    try:
        return row[field]
    except KeyError:
        found = ", ".join(map(repr, row)) or "none"
        raise UserError(
            f"{place}: there is no field {field!r} (there are {found})"
            f"{nearest(field, list(row)).rstrip('?')}; set --{option}"
        ) from None


def _rows(path: str, flag: str, numbered: bool) -> Iterator[tuple[str, Row]]:
    """(place, row) of every example of a file."""
    suffixes = [suffix.lower() for suffix in PurePath(path).suffixes]
    compressed = suffixes[-1:] == [".gz"]
    kind = "".join(suffixes[-2:-1] if compressed else suffixes[-1:])
    if kind not in FORMATS:
        raise UserError(
            f"--{flag}: {path}: unknown kind of file; name it {', '.join(FORMATS)} (or these + .gz)"
        )
    try:
        with files.open_read(path) as raw:
            file = io.BytesIO(gzip.decompress(raw.read())) if compressed else raw
            if kind == ".parquet":
                yield from _parquet_rows(file, path)
            elif kind == ".csv":
                yield from _table_rows(_csv_cells(file, path), numbered)
            elif kind == ".tsv":
                yield from _table_rows(_tsv_cells(file, path), numbered)
            else:
                yield from _json_rows(file, path)
    except (gzip.BadGzipFile, EOFError):
        raise UserError(
            f"--{flag}: {path} is not a whole gzip file; make or fetch it again"
        ) from None
    except OSError as error:
        raise UserError(f"--{flag}: cannot read {path}: {error.strerror or error}") from None


def _lines(file: IO[bytes], path: str) -> Iterator[tuple[int, str]]:
    """(number, text) of each line, without its end, that is not empty."""
    for number, line in enumerate(file, 1):
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise UserError(
                f"{path}:{number}: invalid UTF-8 (byte {error.start + 1} of the line); "
                "convert the file, for example with iconv"
            ) from None
        if text:
            yield number, text


def _json_rows(file: IO[bytes], path: str) -> Iterator[tuple[str, Row]]:
    for number, line in _lines(file, path):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            reason = f"{error}".split(":")[0].lower()
            raise UserError(
                f"{path}:{number}: not valid JSON ({reason}); each line must be one JSON object"
            ) from None
        if not isinstance(row, dict):
            raise UserError(f"{path}:{number}: not a JSON object; each line must be one object")
        yield f"{path}:{number}", row


def _tsv_cells(file: IO[bytes], path: str) -> Iterator[tuple[str, list[str]]]:
    # As GLUE writes them: no quoting, so that a line is a row and a quotation mark a character.
    for number, line in _lines(file, path):
        yield f"{path}:{number}", line.split("\t")


def _csv_cells(file: IO[bytes], path: str) -> Iterator[tuple[str, list[str]]]:
    reader = csv.reader(io.TextIOWrapper(file, "utf-8-sig", newline=""), strict=True)
    line = 1
    try:
        for row in reader:
            if row:
                yield f"{path}:{line}", row
            line = reader.line_num + 1
    except csv.Error as error:
        raise UserError(f"{path}:{line}: not valid CSV ({error}); correct the line") from None
    except UnicodeDecodeError:
        raise UserError(
            f"{path}:{line}: invalid UTF-8 there or below; convert the file, for example with iconv"
        ) from None


def _table_rows(
    cells: Iterator[tuple[str, list[str]]], numbered: bool
) -> Iterator[tuple[str, Row]]:
    """Rows by the names in the first one; or all rows, by the numbers of their columns from 1."""
    header: list[str] | None = None
    for place, row in cells:
        if header is None:
            header = [str(i) for i in range(1, len(row) + 1)] if numbered else row
            if not numbered:
                continue
        if len(row) != len(header):
            raise UserError(
                f"{place}: {len(row)} columns, the first line has {len(header)}; correct the line "
                "(a csv field that holds commas needs quotation marks)"
            )
        yield place, dict(zip(header, row, strict=True))


def _parquet_rows(file: IO[bytes], path: str) -> Iterator[tuple[str, Row]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(file if file.seekable() else io.BytesIO(file.read()))
        number = 0
        for batch in table.iter_batches():
            for row in batch.to_pylist():
                number += 1
                yield f"{path}: row {number}", row
    except pa.ArrowException as error:
        reason = str(error).split("\n")[0][:120]
        raise UserError(f"{path}: not a valid Parquet file ({reason}); make it again") from None
