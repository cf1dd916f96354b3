"""Rows as ``tf.train.Example`` messages: the codec of TFRecord shards, without TensorFlow.

Every column becomes an ``int64_list`` feature of the same name (unsigned 64-bit values keep their
bits), so that stock TensorFlow parses the files. The protocol-buffer bytes are made and read with
numpy for many rows at once; features stand in alphabetical order, so equal rows are equal bytes.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
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


def _varints(values: NDArray[Any]) -> tuple[bytes, NDArray[np.int64]]:
    """All values as protocol-buffer varints, joined, and the int64 size of each."""
    bits = values.astype(np.uint64)
    sizes = np.ones(len(bits), np.int64)
    for limit in range(7, 64, 7):
        sizes += bits >= np.uint64(1 << limit)
    offsets = offsets_of(sizes)
    data = np.empty(offsets[-1], np.uint8)
    for place in range(int(sizes.max(initial=0))):
        here = np.flatnonzero(sizes > place)
        septet = (bits[here] >> np.uint64(7 * place)) & np.uint64(0x7F)
        more = (sizes[here] > place + 1).astype(np.uint64) << np.uint64(7)
        data[offsets[here] + place] = (septet | more).astype(np.uint8)
    return data.tobytes(), sizes


def _read_varints(data: bytes) -> NDArray[np.uint64]:
    """All varints in ``data``, which holds nothing else."""
    octets = np.frombuffer(data, np.uint8)
    if not len(octets):
        return np.zeros(0, np.uint64)
    last = octets < 0x80
    if not last[-1]:
        raise DamagedRecordError("a list of integers ends inside a number")
    ends = np.flatnonzero(last)
    starts = np.concatenate([[0], ends[:-1] + 1])
    place = np.arange(len(octets)) - np.repeat(starts, ends - starts + 1)
    shifted = (octets & 0x7F).astype(np.uint64) << (7 * place).astype(np.uint64)
    return np.add.reduceat(shifted, starts)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _message(number: int, body: bytes) -> bytes:
    """A length-delimited field of a protocol-buffer message."""
    return _varint(number << 3 | 2) + _varint(len(body)) + body


def encode_examples(columns: Columns, schema: Schema) -> list[bytes]:
    """One serialized ``tf.train.Example`` per row."""
    features: list[list[bytes]] = []
    for field in sorted(schema, key=lambda field: field.name):
        column = columns[field.name]
        values = column.values if isinstance(column, Ragged) else column
        offsets = column.offsets if isinstance(column, Ragged) else np.arange(len(values) + 1)
        data, sizes = _varints(values)
        ends = offsets_of(sizes)[offsets].tolist()
        key = _message(1, field.name.encode())
        features.append(
            [
                # map entry {1: name, 2: Feature{3: Int64List{1: packed values}}}
                _message(1, key + _message(2, _message(3, _message(1, data[start:end]))))
                for start, end in itertools.pairwise(ends)
            ]
        )
    return [_message(1, b"".join(parts)) for parts in zip(*features, strict=True)]


def _fields(data: bytes, start: int, end: int) -> list[tuple[int, int, int]]:
    """The (number, start, end) of each length-delimited field in ``data[start:end]``."""
    found = []
    while start < end:
        tag, start = _varint_at(data, start)
        if tag & 7 != 2:
            raise DamagedRecordError("not a tf.train.Example of integer lists")
        size, start = _varint_at(data, start)
        if start + size > end:
            raise DamagedRecordError("a field ends outside its record")
        found.append((tag >> 3, start, start + size))
        start += size
    return found


def _varint_at(data: bytes, start: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if start >= len(data):
            raise DamagedRecordError("a record ends inside a number")
        octet = data[start]
        value |= (octet & 0x7F) << shift
        start += 1
        if octet < 0x80:
            return value, start
        shift += 7


def decode_examples(records: Sequence[bytes], schema: Schema) -> Columns:
    """The rows of many serialized examples; the inverse of ``encode_examples``."""
    lists: dict[str, list[bytes]] = {field.name: [] for field in schema}
    for record in records:
        for _, features_start, features_end in _fields(record, 0, len(record)):
            for _, start, end in _fields(record, features_start, features_end):
                name = ""
                for number, a, b in _fields(record, start, end):
                    if number == 1:
                        name = record[a:b].decode()
                        continue
                    values = b""
                    for _, c, d in _fields(record, a, b):
                        values = b"".join(record[e:f] for _, e, f in _fields(record, c, d))
                    if name in lists:
                        lists[name].append(values)
    columns: Columns = {}
    for field in schema:
        parts = lists[field.name]
        if len(parts) != len(records):
            raise DamagedRecordError(f"a record has no feature {field.name}")
        numbers = _read_varints(b"".join(parts)).astype(field.dtype)
        if field.ragged:
            # A number ends at each byte below 0x80.
            last = np.frombuffer(b"".join(parts), np.uint8) < 0x80
            ends = np.concatenate([[0], np.cumsum(last)])
            sizes = offsets_of(np.array([len(part) for part in parts], np.int64))
            lengths = np.diff(ends[sizes])
            columns[field.name] = Ragged(numbers, offsets_of(lengths))
        else:
            if len(numbers) != len(records):
                raise DamagedRecordError(f"feature {field.name} is not one number")
            columns[field.name] = numbers
    return columns
