"""Record files: writing and reading one shard of rows, as ArrayRecord or TFRecord.

A shard is written to a unique local temporary file and then published under its final name, so a
retried bundle or a killed process leaves either the whole shard or none, and the same rows give the
same bytes. Readers check size, record count and checksum against the manifest and name the shard.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import UserError
from pipelines.records.codec import Schema, decode_records, encode_records, schema_of
from pipelines.records.ragged import Columns
from pipelines.records.tf_example import decode_examples, encode_examples
from pipelines.records.tfrecord import TFRecordReader, write_tfrecord
from pipelines.storage import files

# A group is what random access decompresses. English rows of 512, bytes a token and random rows a
# second on one core: groups of 1 1.86 and 54,000, of 8 1.63 and 35,000, of 64 1.57 and 11,000.
_ARRAY_RECORD_OPTIONS = "group_size:64,zstd:3"

# The names that a manifest may give its files: see ``shard_name``; without a number a whole split.
SHARD_NAME = re.compile(
    r"(?P<split>[a-z_]{1,32})(-(?P<index>\d{5,9})-of-(?P<count>\d{5,9}))?"
    r"\.(array_record|tfrecord|jsonl)"
)


class DamagedShardError(UserError):
    """A shard that is missing, or not what its manifest says."""


def damaged_shard(path: str, problem: str) -> DamagedShardError:
    """The error that says what is wrong with a shard."""
    folder = path.rpartition("/")[0] or "."
    return DamagedShardError(
        f"shard {path} {problem}; make it again: "
        f"python -m pipelines.inspect --data {folder} --repair"
    )


@dataclass(frozen=True)
class ShardInfo:
    """What the manifest says of a shard: file name, records, size in bytes, SHA-256 in hex."""

    name: str
    records: int
    bytes: int
    sha256: str


def shard_name(split: str, index: int, count: int, format: str) -> str:
    """The file name of shard ``index`` of ``count``, e.g. ``train-00003-of-00008.array_record``."""
    return f"{split}-{index:05d}-of-{count:05d}.{format}"


def file_sha256(path: str) -> str:
    """The SHA-256 of a file, in hex."""
    with files.open_read(path) as file:
        return content_sha256(file)


def content_sha256(file: IO[bytes]) -> str:
    """The SHA-256 of what an open file still holds, in hex."""
    digest = hashlib.sha256()
    while chunk := file.read(1 << 20):
        digest.update(chunk)
    return digest.hexdigest()


def write_records(path: str, parts: Iterable[Columns], schema: Schema, format: str) -> ShardInfo:
    """Writes the local record file ``path`` of rows that come part by part, one in memory at a time."""
    write, encode = (
        (_write_array_record, encode_records)
        if format == "array_record"
        else (write_tfrecord, encode_examples)
    )
    records = write(path, (record for part in parts for record in encode(part, schema)))
    return ShardInfo(os.path.basename(path), records, os.path.getsize(path), file_sha256(path))


def write_shard(
    folder: str,
    name: str,
    parts: Iterable[Columns],
    format: str,
    write: Callable[[str, Iterable[Columns], Schema, str], ShardInfo] = write_records,
) -> tuple[ShardInfo, Schema]:
    """Writes the shard ``folder/name`` of rows that come in at least one part, whose columns decide
    the schema. Returns the shard's entry for the manifest, and the schema."""
    remaining = iter(parts)
    first = next(remaining)
    schema = schema_of(first)
    with files.publish(files.join(folder, name)) as temporary:
        info = write(temporary, chain([first], remaining), schema, format)
    return replace(info, name=name), schema


def _write_array_record(path: str, records: Iterable[bytes]) -> int:
    from array_record.python.array_record_module import ArrayRecordWriter

    writer = ArrayRecordWriter(path, _ARRAY_RECORD_OPTIONS)
    count = 0
    for record in records:
        writer.write(record)
        count += 1
    writer.close()
    return count


def _open_records(path: str, format: str) -> Any:
    if format == "tfrecord":
        return TFRecordReader(path)
    from array_record.python.array_record_module import ArrayRecordReader

    return ArrayRecordReader(path)


class ShardReader:
    """Random access to the rows of one local shard, which may be unlinked once it is open.

    Raises DamagedShardError (a UserError) that names the shard, by ``name`` if not its path, if it is
    missing, or its size or record count is not what the manifest says.
    """

    def __init__(
        self, path: str, info: ShardInfo, schema: Schema, format: str, name: str | None = None
    ):
        self._name = name or path
        self._info, self._schema = info, schema
        self._decode = decode_records if format == "array_record" else decode_examples
        if not os.path.isfile(path):
            raise damaged_shard(self._name, "is missing")
        self._check("bytes", os.path.getsize(path), info.bytes)
        with self._named_errors("opened"):
            self._records = _open_records(path, format)
        self._check("records", self._records.num_records(), info.records)

    def __len__(self) -> int:
        return self._info.records

    def _check(self, what: str, has: int, manifest_says: int) -> None:
        if has != manifest_says:
            problem = f"has {has:,} {what}, its manifest says {manifest_says:,}"
            raise damaged_shard(self._name, problem)

    @contextmanager
    def _named_errors(self, done: str) -> Iterator[None]:
        try:
            yield
        except (RuntimeError, ValueError, IndexError) as error:
            reason = " ".join(str(error).split())[:200]
            raise damaged_shard(self._name, f"cannot be {done} ({reason})") from None

    def read(self, rows: NDArray[np.int64]) -> Columns:
        """The rows with the given indices, in that order."""
        with self._named_errors("read"):
            # ArrayRecord takes an empty list for all.
            records = self._records.read(rows.tolist()) if len(rows) else []
            return self._decode(records, self._schema)

    def in_order(self, rows_at_once: int = 1024) -> Iterator[Columns]:
        """All rows, some at a time, in at least one part; every record is read and decoded."""
        for start in range(0, max(1, len(self)), rows_at_once):
            yield self.read(np.arange(start, min(start + rows_at_once, len(self)), dtype=np.int64))


@contextmanager
def local_copy(folder: str, info: ShardInfo) -> Iterator[str]:
    """A local path of the shard, downloaded first if it is remote; checks its SHA-256. What takes the
    shard's place later is not read."""
    path = files.join(folder, info.name)
    if not files.exists(path):
        raise damaged_shard(path, "is missing")
    with files.local_file(path) as local, files.open_read(local) as file:
        if content_sha256(file) != info.sha256:
            raise damaged_shard(path, "does not match the checksum in its manifest")
        yield files.place_of(file)
