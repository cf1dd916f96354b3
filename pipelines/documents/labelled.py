"""Labelled texts from files of records: jsonl, csv, tsv and parquet, compressed or not.

For the stage tokenize and for fine-tuning alike, so that both see the same examples. Every example
remembers its file and line, so that whatever turns out to be wrong with it later can be told with its
place.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines import files
from pipelines.documents.bad_record import BadRecord, invalid_utf8
from pipelines.documents.blocks import content_id
from pipelines.documents.fields import (
    FORMATS,
    Place,
    encode_text,
    field_of,
    place_of,
    read_fields,
    show_value,
    text_of,
)
from pipelines.documents.line_ranges import FileRange
from pipelines.documents.open_content import named_errors, split_extension
from pipelines.documents.tables import Record
from pipelines.errors import UserError


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
    kind = FORMATS.get(split_extension(path)[0])
    if kind is None:
        raise UserError(
            f"--{flag}: {path}: unknown kind of file; name it {', '.join(FORMATS)} "
            "(or these + .gz, .bz2 or .zst)"
        )
    where = FileRange(path)
    wanted = {option: name for option, name in asdict(fields).items() if name}
    texts: list[str] = []
    pairs: list[str] | None = [] if fields.text_pair_field else None
    labels: list[Any] | None = [] if fields.label_field else None
    places: list[str] = []
    with named_errors(path):
        for number, record in read_fields(where, kind, wanted, exact_integers=True):
            place = partial(place_of, where, kind, number)
            try:
                if isinstance(record, BadRecord):
                    raise record
                texts.append(text_of(record, fields.text_field, "text_field", place).decode())
                if pairs is not None:
                    pair = text_of(record, fields.text_pair_field, "text_pair_field", place)
                    pairs.append(pair.decode())
                if labels is not None:
                    labels.append(_label(record, fields.label_field, place))
            except BadRecord as bad:
                raise UserError(str(bad)) from None
            places.append(place())
    return LabelledTexts(texts, pairs, labels, places)


def as_class_name(label: Any) -> str:
    """A label as text: 1, 1.0 and the decimal 1.00 are the class "1", JSON's true is "true"."""
    if isinstance(label, bool):
        return str(label).lower()
    if isinstance(label, float | Decimal) and label % 1 == 0:
        return str(int(label))
    return str(label).strip()


def _label(record: Record, name: str, place: Place) -> Any:
    label = field_of(record, name, "label_field", place)
    if isinstance(label, bytes):  # as Parquet may hold text
        try:
            label = label.decode()
        except UnicodeDecodeError as error:
            raise invalid_utf8(error, place()) from None
    if isinstance(label, str):
        label = encode_text(label).decode()
    no_label = label is None or isinstance(label, list | dict)
    no_label = no_label or (isinstance(label, float) and math.isnan(label))
    if no_label or as_class_name(label) == "":
        raise UserError(
            f"{place()}: field {name!r} holds no label but {show_value(label)}; "
            "correct the line or leave it out"
        )
    return label
