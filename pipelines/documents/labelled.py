"""Labelled texts from files of records: jsonl, csv, tsv and parquet, compressed or not.

For the stage tokenize and for fine-tuning alike, so that both see the same examples. Every example
keeps its file and line, so that a later error can name them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines import files
from pipelines.documents.bad_record import BadRecord, Location, decode
from pipelines.documents.blocks import content_id
from pipelines.documents.fields import (
    FORMATS,
    encode_text,
    field_of,
    read_fields,
    show_value,
    text_of,
)
from pipelines.documents.line_ranges import FileRange
from pipelines.documents.open_content import named_errors, split_extension
from pipelines.documents.tables import Record
from pipelines.errors import UserError

_Row = tuple[str, str, Any, str]


@dataclass(frozen=True)
class Fields:
    """Where a row's text, second text and label stand; empty: the rows have none."""

    text_field: str
    text_pair_field: str = ""
    label_field: str = ""


@dataclass(frozen=True)
class LabelledTexts:
    """n examples: ``texts``, their second texts (or None), labels as read (or None) and ``locations``.

    ``locations`` are "file:line" (for parquet "file: row number").
    """

    texts: list[str]
    pairs: list[str] | None
    labels: list[Any] | None
    locations: list[str]

    def __len__(self) -> int:
        return len(self.texts)

    def select(self, rows: Sequence[int] | NDArray[np.int64]) -> LabelledTexts:
        """The examples with the given indices, in that order."""
        return LabelledTexts(
            [self.texts[i] for i in rows],
            None if self.pairs is None else [self.pairs[i] for i in rows],
            None if self.labels is None else [self.labels[i] for i in rows],
            [self.locations[i] for i in rows],
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
        """A clause about them for a message, or nothing."""
        empty = len(self.empty())
        return f"; {empty:,} without any text" if empty else ""


def read_labelled(patterns: Sequence[str], fields: Fields, flag: str) -> LabelledTexts:
    """Reads all files that match, in the order of their names.

    ``flag`` is the option that named the files. Raises UserError, with file and line, for whatever
    cannot be read.
    """
    infos = files.match(patterns, flag)
    rows = [row for info in infos for row in _read_rows(info.path, fields, flag)]
    if not rows:
        raise UserError(f"--{flag}: no examples in {', '.join(patterns)}; name other files")
    return _as_columns(rows, fields)


def read_file(path: str, fields: Fields, flag: str) -> LabelledTexts:
    """Reads one file; it may hold no example. Otherwise as ``read_labelled``."""
    return _as_columns(_read_rows(path, fields, flag), fields)


def _as_columns(rows: Iterable[_Row], fields: Fields) -> LabelledTexts:
    columns = [list(column) for column in zip(*rows, strict=True)] or [[], [], [], []]
    texts, pairs, labels, locations = columns
    return LabelledTexts(
        texts,
        pairs if fields.text_pair_field else None,
        labels if fields.label_field else None,
        locations,
    )


def _read_rows(path: str, fields: Fields, flag: str) -> Iterator[_Row]:
    """(text, second text or "", label or None, location) of each example of a file."""
    kind = FORMATS.get(split_extension(path)[0])
    if kind is None:
        raise UserError(
            f"--{flag}: {path}: unknown kind of file; name it {', '.join(FORMATS)} "
            "(or these + .gz, .bz2 or .zst)"
        )
    wanted = {option: name for option, name in asdict(fields).items() if name}
    with named_errors(path):
        for location, record in read_fields(FileRange(path), kind, wanted, exact_integers=True):
            text = _text_of(record, fields.text_field, "text_field", location)
            pair = _text_of(record, fields.text_pair_field, "text_pair_field", location)
            yield text, pair, _label_of(record, fields.label_field, location), location()


def as_class_name(label: Any) -> str:
    """A label as text: 1, 1.0 and the decimal 1.00 are the class "1", JSON's true is "true"."""
    if isinstance(label, bool):
        return str(label).lower()
    if isinstance(label, float | Decimal) and label % 1 == 0:
        return str(int(label))
    return str(label).strip()


def _text_of(record: Record | BadRecord, name: str, option: str, location: Location) -> str:
    return _require(text_of(record, name, option, location)).decode() if name else ""


def _label_of(record: Record | BadRecord, name: str, location: Location) -> Any:
    if not name:
        return None
    label = field_of(record, name, "label_field", location)
    if isinstance(label, bytes):  # as Parquet may hold text
        label = decode(label, location)
    label = _require(label)
    if isinstance(label, str):
        label = encode_text(label).decode()
    no_label = label is None or isinstance(label, list | dict)
    no_label = no_label or (isinstance(label, float) and math.isnan(label))
    if no_label or as_class_name(label) == "":
        raise UserError(
            f"{location()}: field {name!r} holds no label but {show_value(label)}; "
            "correct the line or leave it out"
        )
    return label


def _require(value: Any) -> Any:
    """The value; raises UserError for a BadRecord."""
    if isinstance(value, BadRecord):
        raise UserError(value.message)
    return value
