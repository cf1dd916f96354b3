"""Reads labelled texts: jsonl, csv, tsv and parquet files, compressed or not.

Every example remembers its file and line, so that whatever turns out to be wrong with it later
can be told with its place. Lines end at ``\\n`` only. A field is a column's name, or its number
(from 1) in a csv or tsv file without a header, such as CoLA's.
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
from pipelines.command import nearest
from pipelines.errors import UserError

FORMATS = (".jsonl", ".json", ".ndjson", ".csv", ".tsv", ".parquet")
Row = Mapping[str, Any]
csv.field_size_limit(2**31 - 1)


@dataclass(frozen=True)
class LabelledTexts:
    """n examples: ``texts``, their second texts (or None), labels as found and ``places``.

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

    def empty(self) -> list[int]:
        """The indices of examples without any text (white space is none)."""
        pairs = self.pairs or [""] * len(self)
        return [i for i in range(len(self)) if not (self.texts[i].strip() or pairs[i].strip())]


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
    texts: list[str] = []
    pairs: list[str] = []
    labels: list[Any] = []
    places: list[str] = []
    # Numbers for names: a table without a header.
    numbered = all(f.isdecimal() for f in (text_field, text_pair_field, label_field) if f)
    for info in files.match(patterns, flag):
        for place, row in _rows(info.path, flag, numbered):
            texts.append(_text(row, text_field, "text_field", place))
            if text_pair_field:
                pairs.append(_text(row, text_pair_field, "text_pair_field", place))
            if label_field:
                labels.append(_label(row, label_field, place))
            places.append(place)
    if not texts:
        raise UserError(f"--{flag}: no examples in {', '.join(patterns)}; name other files")
    return LabelledTexts(
        texts, pairs if text_pair_field else None, labels if label_field else None, places
    )


def class_names(labels: Sequence[Any]) -> list[str]:
    """The names of the classes that occur: in the order of their numbers if all are integers."""
    names = {as_class_name(label) for label in labels}
    try:
        return sorted(names, key=int)
    except ValueError:
        return sorted(names)


def as_class_name(label: Any) -> str:
    """A label as text: 1 and 1.0 are the class "1", JSON's true is "true"."""
    if isinstance(label, bool):
        return str(label).lower()
    if isinstance(label, float) and label.is_integer():
        return str(int(label))
    return str(label).strip()


def as_class_ids(data: LabelledTexts, classes: Sequence[str], trained_on: str) -> NDArray[np.int64]:
    """int64[n]: the index of each label. Raises UserError for a label that is not a class."""
    index = {name: i for i, name in enumerate(classes)}
    assert data.labels is not None
    ids = np.empty(len(data), np.int64)
    for i, label in enumerate(data.labels):
        name = as_class_name(label)
        if name not in index:
            known = ", ".join(classes[:20]) + (", …" if len(classes) > 20 else "")
            raise UserError(
                f"{data.places[i]}: label {name!r} was never seen in {trained_on} "
                f"(its classes: {known}); correct it or leave the line out"
            )
        ids[i] = index[name]
    return ids


def as_numbers(data: LabelledTexts) -> NDArray[np.float32]:
    """float32[n]: the labels of a regression. Raises UserError for one that is no finite number."""
    assert data.labels is not None
    numbers = np.empty(len(data), np.float32)
    for i, label in enumerate(data.labels):
        try:
            numbers[i] = float(label)
        except (TypeError, ValueError):
            numbers[i] = np.nan
        if not np.isfinite(numbers[i]):
            raise UserError(
                f"{data.places[i]}: label {str(label)[:40]!r} is not a number; correct it or use "
                "--task classification"
            )
    return numbers


def _text(row: Row, field: str, option: str, place: str) -> str:
    value = _value(row, field, option, place)
    if not isinstance(value, str):
        raise UserError(
            f"{place}: field {field!r} must be a text, found "
            f"{json.dumps(value, default=str)[:40]}; correct the line or leave it out"
        )
    return value


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
