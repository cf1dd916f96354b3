"""Rows as ``tf.train.Example`` messages: the codec of TFRecord shards, without TensorFlow.

Every column becomes an ``int64_list`` feature of the same name (unsigned 64-bit values keep their
bits), so that stock TensorFlow parses the files. The numbers of many rows are written and read with
numpy at once; features are in alphabetical order, so equal rows are equal bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.records.codec import DamagedRecordError, Schema
from pipelines.records.ragged import Columns, Ragged, offsets_of


def parsing_schema(schema: Schema) -> str:
    """Python source that defines ``features`` for ``tf.io.parse_example`` and its single form."""
    kinds = ("tf.io.FixedLenFeature([], tf.int64)", "tf.io.RaggedFeature(tf.int64)")
    lines = [f'    "{field.name}": {kinds[field.ragged]},' for field in schema]
    return "\n".join(["features = {", *lines, "}"])


def encode_examples(columns: Columns, schema: Schema) -> list[bytes]:
    """One serialized ``tf.train.Example`` per row."""
    features: list[list[bytes]] = []
    for field in sorted(schema, key=lambda field: field.name):
        column = columns[field.name]
        values = column.values if isinstance(column, Ragged) else column
        offsets = column.offsets if isinstance(column, Ragged) else np.arange(len(values) + 1)
        data, sizes = _pack(values)
        name = _message(1, field.name.encode())
        features.append(
            [
                # map entry {1: name, 2: Feature{3: Int64List{1: packed values}}}
                _message(1, name + _message(2, _message(3, _message(1, data[start:end]))))
                for start, end in pairwise(offsets_of(sizes)[offsets].tolist())
            ]
        )
    return [_message(1, b"".join(row)) for row in zip(*features, strict=True)]


def decode_examples(records: Sequence[bytes], schema: Schema) -> Columns:
    """The rows of many serialized examples; the inverse of ``encode_examples``.

    Raises DamagedRecordError for what is no example, or has other features than the schema.
    """
    packed: dict[str, list[bytes]] = {field.name: [] for field in schema}
    for record in records:
        for _, features in _fields(record):
            for _, entry in _fields(features):
                name, feature = (dict(_fields(entry)).get(number, b"") for number in (1, 2))
                if name.decode() in packed:
                    lists = [
                        numbers for _, ints in _fields(feature) for _, numbers in _fields(ints)
                    ]
                    packed[name.decode()].append(b"".join(lists))
    columns: Columns = {}
    for field in schema:
        if len(packed[field.name]) != len(records):
            raise DamagedRecordError(f"a record has no feature {field.name}")
        numbers = _unpack(packed[field.name], field.dtype)
        if not field.ragged and (numbers.lengths != 1).any():
            raise DamagedRecordError(f"feature {field.name} is not one number")
        columns[field.name] = numbers if field.ragged else numbers.values
    return columns


def _pack(values: NDArray[Any]) -> tuple[bytes, NDArray[np.int64]]:
    """All values as protocol-buffer varints, joined, and the int64 size of each."""
    bits = values.astype(np.uint64)
    sizes = np.ones(len(bits), np.int64)
    for limit in range(7, 64, 7):
        sizes += bits >= np.uint64(1 << limit)
    offsets = offsets_of(sizes)
    data = np.empty(offsets[-1], np.uint8)
    for index in range(int(sizes.max(initial=0))):
        here = np.flatnonzero(sizes > index)
        septet = (bits[here] >> np.uint64(7 * index)) & np.uint64(0x7F)
        more = (sizes[here] > index + 1).astype(np.uint64) << np.uint64(7)
        data[offsets[here] + index] = (septet | more).astype(np.uint8)
    return data.tobytes(), sizes


def _unpack(packed: Sequence[bytes], dtype: str) -> Ragged:
    """The numbers of each list of varints."""
    octets = np.frombuffer(b"".join(packed), np.uint8)
    is_last = octets < 0x80
    if len(octets) and not is_last[-1]:
        raise DamagedRecordError("a list of integers ends inside a number")
    ends = np.flatnonzero(is_last) + 1
    starts = np.concatenate([[0], ends])[:-1]
    index = np.arange(len(octets)) - np.repeat(starts, ends - starts)
    shifted = (octets & 0x7F).astype(np.uint64) << (7 * index).astype(np.uint64)
    values = np.add.reduceat(shifted, starts) if len(starts) else shifted
    bounds = offsets_of(np.array([len(numbers) for numbers in packed], np.int64))
    return Ragged(values.astype(dtype), offsets_of(is_last)[bounds])


def _message(number: int, body: bytes) -> bytes:
    """A length-delimited field of a protocol-buffer message."""
    return _varint(number << 3 | 2) + _varint(len(body)) + body


def _fields(message: bytes) -> list[tuple[int, bytes]]:
    """The number and content of each field of a message that has only length-delimited ones."""
    fields, start = [], 0
    while start < len(message):
        tag, start = _varint_at(message, start)
        if tag & 7 != 2:
            raise DamagedRecordError("not a tf.train.Example of integer lists")
        size, start = _varint_at(message, start)
        if start + size > len(message):
            raise DamagedRecordError("a field ends outside its record")
        fields.append((tag >> 3, message[start : start + size]))
        start += size
    return fields


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _varint_at(data: bytes, start: int) -> tuple[int, int]:
    """The varint that begins at ``start``, and where it ends."""
    value = shift = 0
    for end in range(start, len(data)):
        value |= (data[end] & 0x7F) << shift
        shift += 7
        if data[end] < 0x80:
            return value, end + 1
    raise DamagedRecordError("a record ends inside a number")
