"""Labelled texts from files of records: jsonl, csv, tsv and parquet, compressed or not.

For the stage tokenize and for fine-tuning alike, so that both see the same examples. Every example
keeps its file and line, so that a later error can name them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Any, NamedTuple

from pipelines.documents.bad_record import BadRecord, BadRecords, Location, decode
from pipelines.documents.blocks import content_id
from pipelines.documents.fields import FORMATS, field_of, read_fields, show_value, text_of
from pipelines.documents.line_ranges import FileRange
from pipelines.documents.open_content import named_errors, split_extension
from pipelines.documents.tables import Record
from pipelines.errors import UserError
from pipelines.storage import files
from pipelines.text.utf8 import encode_text


@dataclass(frozen=True)
class Fields:
    """Where a row's text, second text and label stand; empty: the rows have none."""

    text_field: str
    text_pair_field: str = ""
    label_field: str = ""


class LabelledText(NamedTuple):
    """A text, its second text (None: texts have none), its label as read (None: not asked for), and
    its location, "file:line" (in parquet "file: row number")."""

    text: str
    pair: str | None
    label: Any
    location: str

    def is_empty(self) -> bool:
        """Whether there is no text at all (white space is none)."""
        return not (self.text.strip() or (self.pair or "").strip())

    def example_id(self) -> int:
        """64 bits that identify the text, or the two texts together."""
        joined = self.text if self.pair is None else f"{self.text}\0{self.pair}"
        return content_id(joined.encode())


def describe_empty(examples: Sequence[LabelledText]) -> str:
    """A clause for a message about the examples without any text; empty where all have some."""
    empty = sum(example.is_empty() for example in examples)
    return f"; {empty:,} without any text" if empty else ""


def read_labelled(
    patterns: Sequence[str], fields: Fields, flag: str, bad: BadRecords | None = None
) -> list[LabelledText]:
    """Reads all files that match, in the order of their names.

    ``flag`` is the option that named the files; ``bad`` gets the records that cannot be used. Without it
    the first of them raises UserError, with file and line, as whatever else cannot be read.
    """
    infos = files.match(patterns, flag)
    examples = [example for info in infos for example in read_file(info.path, fields, flag, bad)]
    if not examples:
        dropped = f" (dropped: {bad.describe()})" if bad and bad.counts else ""
        raise UserError(
            f"--{flag}: no examples in {', '.join(patterns)}{dropped}; name other files"
        )
    return examples


def read_file(
    path: str, fields: Fields, flag: str, bad: BadRecords | None = None
) -> Iterator[LabelledText]:
    """Reads one file; it may hold no example. Otherwise as ``read_labelled``."""
    kind = FORMATS.get(split_extension(path)[0])
    if kind is None:
        raise UserError(
            f"--{flag}: {path}: unknown kind of file; name it {', '.join(FORMATS)} "
            "(or these + .gz, .bz2 or .zst)"
        )
    wanted = {option: name for option, name in asdict(fields).items() if name}
    with named_errors(path):
        for location, record in read_fields(FileRange(path), kind, wanted, exact_integers=True):
            example = _example_of(record, fields, location)
            if isinstance(example, LabelledText):
                yield example
            elif bad is None:
                raise UserError(example.message)
            else:
                bad.add(example)


def _example_of(
    record: Record | BadRecord, fields: Fields, location: Location
) -> LabelledText | BadRecord:
    text = text_of(record, fields.text_field, "text_field", location)
    pair: bytes | BadRecord | None = None
    if name := fields.text_pair_field:
        pair = text_of(record, name, "text_pair_field", location)
    label = _label_of(record, fields.label_field, location) if fields.label_field else None
    for value in (text, pair, label):
        if isinstance(value, BadRecord):
            return value
    assert isinstance(text, bytes)
    return LabelledText(
        text.decode(), pair.decode() if isinstance(pair, bytes) else None, label, location()
    )


def as_class_name(label: Any) -> str:
    """A label as text: 1, 1.0 and the decimal 1.00 are the class "1", JSON's true is "true"."""
    if isinstance(label, bool):
        return str(label).lower()
    if isinstance(label, float | Decimal) and label % 1 == 0:
        return str(int(label))
    return str(label).strip()


def _label_of(record: Record | BadRecord, name: str, location: Location) -> Any:
    label = field_of(record, name, "label_field", location)
    if isinstance(label, bytes):  # as Parquet may hold text
        label = decode(label, location)
    if isinstance(label, BadRecord):
        return label
    if isinstance(label, str):
        label = encode_text(label).decode()
    no_label = label is None or isinstance(label, list | dict)
    no_label = no_label or (isinstance(label, float) and math.isnan(label))
    if no_label or as_class_name(label) == "":
        return BadRecord(
            "no_label",
            f"{location()}: field {name!r} holds no label but {show_value(label)}; "
            "correct the line or leave it out",
        )
    return label
