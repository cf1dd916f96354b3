"""TFRecord files without TensorFlow: the framing of records, written and read at random.

Each record is framed by its length (uint64), the length's masked CRC-32C, the data and its own.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable

import numpy as np

from pipelines.records.codec import DamagedRecordError


def write_tfrecord(path: str, records: Iterable[bytes]) -> int:
    """Writes a local file; returns how many records it holds."""
    count = 0
    with open(path, "wb") as file:
        for record in records:
            length = struct.pack("<Q", len(record))
            file.write(length + _masked_crc(length) + record + _masked_crc(record))
            count += 1
    return count


class TFRecordReader:
    """Random access to the records of a local file, which may be unlinked once it is open.

    Raises DamagedRecordError if the frames do not fit one another and the file.
    """

    def __init__(self, path: str) -> None:
        self._file = open(path, "rb")  # noqa: SIM115 - kept open
        offsets = [0]  # of frames, found by hopping over the lengths
        while header := self._file.read(12):
            if len(header) < 12 or header[8:] != _masked_crc(header[:8]):
                raise DamagedRecordError(f"a damaged record header at byte {offsets[-1]:,}")
            offsets.append(offsets[-1] + 16 + struct.unpack("<Q", header[:8])[0])
            self._file.seek(offsets[-1])
        if offsets[-1] != os.fstat(self._file.fileno()).st_size:
            raise DamagedRecordError("it ends inside a record")
        self._offsets = np.array(offsets, np.int64)

    def num_records(self) -> int:
        """How many there are. (Named as ArrayRecord's reader names it.)"""
        return len(self._offsets) - 1

    def read(self, rows: list[int]) -> list[bytes]:
        """The records with the given indices, in that order."""
        records = []
        for row in rows:
            start, end = self._offsets[row : row + 2].tolist()
            frame = os.pread(self._file.fileno(), end - start, start)
            data, crc = frame[12:-4], frame[-4:]
            if len(frame) < end - start or crc != _masked_crc(data):
                raise DamagedRecordError(f"record {row} does not match its checksum")
            records.append(data)
        return records


def _masked_crc(data: bytes) -> bytes:
    import google_crc32c

    crc = google_crc32c.value(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)
