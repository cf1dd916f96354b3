"""Documents: from input files to blocks of documents.

A block holds the UTF-8 text of many documents in one buffer, with offsets and one ``doc_id`` each.
The id is a hash of the text: it depends neither on the file nor on the order. Nothing here knows
Beam.
"""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pipelines.documents.bad_record import BadRecord
from pipelines.documents.config import InputFormat
from pipelines.documents.filter import load_filter
from pipelines.documents.formats import read_records, resolve_format
from pipelines.documents.line_ranges import FileRange
from pipelines.documents.open_content import split_extension
from pipelines.documents.rules import load_rules
from pipelines.errors import UserError
from pipelines.records.ragged import offsets_of
from pipelines.storage import files

# A block is large enough that the cost per block vanishes, small enough that a worker holds many.
BLOCK_BYTES = 1 << 20
# Uncompressed files of lines are cut into ranges of this size, so that workers share one file.
RANGE_BYTES = 32 << 20


@dataclass(frozen=True)
class DocumentBlock:
    """n documents: ``text`` is their joined UTF-8; document i is ``text[offsets[i]:offsets[i+1]]``.

    ``offsets`` int64[n + 1], ``doc_ids`` uint64[n]; ``counts`` holds what was read and dropped on the
    way to this block (``documents_in``, ``documents_dropped_*``, ``bytes_in``).
    """

    text: bytes
    offsets: NDArray[np.int64]
    doc_ids: NDArray[np.uint64]
    counts: Counter[str] = field(default_factory=Counter)

    def __len__(self) -> int:
        return len(self.doc_ids)

    def texts(self) -> list[str]:
        """The documents as strings."""
        ends = self.offsets.tolist()
        return [self.text[start:end].decode() for start, end in itertools.pairwise(ends)]


def content_id(text: bytes) -> int:
    """The ``doc_id`` of a document: 64 bits of the BLAKE2b hash of its UTF-8 text."""
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")


def make_block(texts: list[bytes], counts: Counter[str] | None = None) -> DocumentBlock:
    """A block of the given UTF-8 texts, in that order."""
    return DocumentBlock(
        b"".join(texts),
        offsets_of(np.array([len(text) for text in texts], np.int64)),
        np.array([content_id(text) for text in texts], np.uint64),
        Counter() if counts is None else counts,
    )


def is_splittable(info: files.FileInfo, options: InputFormat) -> bool:
    """Whether a file can be read from anywhere: it is stored as lines that are documents."""
    kind = resolve_format(info.path, options.input_format)
    is_lines = kind == "jsonl" or (kind == "text" and options.document_boundary == "line")
    return is_lines and not split_extension(info.path)[1]


def plan_ranges(infos: Iterable[files.FileInfo], options: InputFormat) -> list[FileRange]:
    """Cuts the files into pieces that can be read independently."""
    ranges = []
    for info in infos:
        splittable = is_splittable(info, options)
        starts = range(0, max(info.size, 1) if splittable else 1, RANGE_BYTES)
        ends = [*starts[1:], None]
        ranges += [FileRange(info.path, *edges) for edges in zip(starts, ends, strict=True)]
    return ranges


def read_blocks(where: FileRange, options: InputFormat) -> Iterator[DocumentBlock]:
    """The documents of a file range, in blocks of about ``BLOCK_BYTES``.

    Texts of white space only, and what a rule or the filter refuses, are dropped and counted; bad
    records raise UserError with file and line, or are dropped and counted with
    ``on_bad_record='drop'``. The last block may be empty: it carries the remaining counts.
    """
    texts: list[bytes] = []
    counts: Counter[str] = Counter()
    size = 0
    judge = load_rules(options)
    check = load_filter(options.filter) if options.filter else None
    for record in read_records(where, options):
        counts["documents_in"] += 1
        if isinstance(record, BadRecord):
            if options.on_bad_record == "fail":
                allow = ", raise --max_record_bytes" if record.reason == "too_long" else ""
                raise UserError(
                    f"{record.message}{allow}, or drop such records with --on_bad_record drop"
                )
            counts[f"documents_dropped_{record.reason}"] += 1
            continue
        counts["bytes_in"] += len(record)
        if not record.strip():
            counts["documents_dropped_empty"] += 1
            continue
        reason = judge(record) if judge else None
        if reason is not None:
            counts[f"documents_dropped_{reason}"] += 1
            continue
        reason = check(record) if check else None
        if reason is not None:
            counts[f"documents_dropped_filter_{reason}"] += 1
            continue
        texts.append(record)
        size += len(record)
        if size >= BLOCK_BYTES:
            yield make_block(texts, counts)
            texts, counts, size = [], Counter(), 0
    yield make_block(texts, counts)
