"""Rows as bytes: the codec of ArrayRecord shards.

A schema is an ordered list of fields. A record is a fixed-size header (all scalar fields, then one
uint32 length per ragged field, packed little-endian, in schema order) followed by the values of the
ragged fields. Encoding and decoding are exact inverses and work on many records at once; the schema
is in the manifest of the shards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.records.ragged import Columns, Ragged, offsets_of, row_count


@dataclass(frozen=True)
class Field:
    """One column of a record: its name, numpy dtype name ('uint16') and whether it is a list."""

    name: str
    dtype: str
    ragged: bool = False

    @property
    def stored_dtype(self) -> np.dtype[Any]:
        """The little-endian dtype of its numbers in a record."""
        return np.dtype(self.dtype).newbyteorder("<")


Schema = tuple[Field, ...]


class DamagedRecordError(ValueError):
    """A record's bytes do not fit the schema."""


def schema_of(columns: Columns) -> Schema:
    """The schema that holds these columns as they are (numpy arrays of one dimension or Ragged)."""
    return tuple(
        Field(name, column.values.dtype.name, True)
        if isinstance(column, Ragged)
        else Field(name, column.dtype.name)
        for name, column in columns.items()
    )


def token_dtype(vocabulary_size: int) -> type[np.unsignedinteger[Any]]:
    """The narrowest unsigned dtype for ids below ``vocabulary_size``: uint16 or uint32."""
    return np.uint16 if vocabulary_size <= 1 << 16 else np.uint32


def _header_dtype(schema: Schema) -> np.dtype[Any]:
    scalars = [(field.name, field.stored_dtype) for field in schema if not field.ragged]
    lengths = [(field.name, np.dtype("<u4")) for field in schema if field.ragged]
    return np.dtype(scalars + lengths)


def record_layout(schema: Schema) -> str:
    """How a record's bytes are laid out, for readers in other languages."""
    size = _header_dtype(schema).itemsize
    lists = [field for field in schema if field.ragged]
    lines = [
        f"# Every record: {size} bytes of little-endian numbers, then lists of them.",
        *(f"{field.name}: {field.dtype}" for field in schema if not field.ragged),
        *(f"length of {field.name}: uint32" for field in lists),
        *(f"{field.name}: {field.dtype}[its length]" for field in lists),
    ]
    return "\n".join(lines)


def encode_records(columns: Columns, schema: Schema) -> list[bytes]:
    """One bytes object per row of ``columns``, which must have the schema's fields."""
    header = np.zeros(row_count(columns), _header_dtype(schema))
    lists: list[list[bytes]] = []
    for field in schema:
        column = columns[field.name]
        if isinstance(column, Ragged):
            header[field.name] = column.lengths
            values = column.values.astype(field.stored_dtype, copy=False)
            lists.append(_cut(values.tobytes(), column.offsets * values.itemsize))
        else:
            header[field.name] = column
    headers = _cut(header.tobytes(), np.arange(len(header) + 1) * header.dtype.itemsize)
    return [b"".join(record) for record in zip(headers, *lists, strict=True)]


def _cut(data: bytes, bounds: NDArray[np.int64]) -> list[bytes]:
    return [data[start:end] for start, end in pairwise(bounds.tolist())]


def decode_records(records: Sequence[bytes], schema: Schema) -> Columns:
    """The rows of many records. Raises DamagedRecordError if a record's size is impossible."""
    dtype = _header_dtype(schema)
    size = dtype.itemsize
    if any(len(record) < size for record in records):
        raise DamagedRecordError(f"a record is shorter than its header of {size} bytes")
    header: NDArray[Any] = np.frombuffer(b"".join(record[:size] for record in records), dtype)
    start = np.full(len(records), size, np.int64)
    columns: Columns = {}
    for field in schema:
        if not field.ragged:
            columns[field.name] = header[field.name].astype(field.dtype)
            continue
        lengths = header[field.name].astype(np.int64)
        end = start + lengths * field.stored_dtype.itemsize
        data = b"".join(
            record[a:b] for record, a, b in zip(records, start.tolist(), end.tolist(), strict=True)
        )
        if len(data) != int((end - start).sum()):
            raise DamagedRecordError(f"a record ends inside its field {field.name}")
        values = np.frombuffer(data, field.stored_dtype).astype(field.dtype)
        columns[field.name] = Ragged(values, offsets_of(lengths))
        start = end
    if start.tolist() != [len(record) for record in records]:
        raise DamagedRecordError("a record is longer than its fields")
    return columns
