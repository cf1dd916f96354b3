"""A sample of the input, to estimate what a run over all of it will take.

Of some of the files: parts from all over those that can be read from anywhere, of the others their
beginning, which is assumed to be like the rest. All of the sample is read, some of it is worked on.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import TypeVar

import numpy as np

from pipelines.documents.blocks import DocumentBlock, is_splittable, read_blocks
from pipelines.documents.config import InputFormat
from pipelines.documents.formats import resolve_format
from pipelines.documents.line_ranges import FileRange
from pipelines.documents.open_content import open_content, split_extension
from pipelines.documents.tables import open_parquet
from pipelines.errors import UserError
from pipelines.storage import files

_SAMPLED_FILES = 4
_READ_BYTES = 16 << 20  # of all of them
_PARTS = 4  # of a file that can be read from anywhere
_WORKED_BYTES = 4 << 20

T = TypeVar("T")


@dataclass(frozen=True)
class InputSample:
    """Blocks of documents to work on, and what they tell of the whole input.

    counts: of all documents that the input is estimated to hold, as those of a DocumentBlock.
    scale: how many times as much text it holds as ``blocks``.
    read_seconds: what reading it takes, on one core.
    """

    blocks: list[DocumentBlock]
    counts: Counter[str]
    scale: float
    read_seconds: float


def sample_input(infos: Sequence[files.FileInfo], options: InputFormat) -> InputSample:
    """A sample of the files. Raises UserError if it holds no document."""
    began = time.thread_time()
    stored = 0.0
    blocks: list[DocumentBlock] = []
    # The sample may end inside an article; what is wrong with the input is the run's to say.
    options = replace(options, on_bad_record="drop")
    chosen = choose_evenly(infos, _SAMPLED_FILES)
    for info in chosen:
        found, share = _read_sample(info, options, _READ_BYTES // len(chosen))
        stored += info.size * share
        blocks += found
    seconds = time.thread_time() - began
    full = [block for block in blocks if len(block)]
    if not full:
        raise UserError(
            "no documents in the sample of the input; check --input, --input_format and --text_field"
        )
    times = max(1.0, sum(info.size for info in infos) / max(stored, 1.0))
    counts: Counter[str] = Counter()
    for block in blocks:
        counts.update(block.counts)
    text = sum(len(block.text) for block in full)
    worked_on = choose_evenly(full, max(1, len(full) * _WORKED_BYTES // max(text, _WORKED_BYTES)))
    return InputSample(
        worked_on,
        Counter({name: round(count * times) for name, count in counts.items()}),
        times * text / max(1, sum(len(block.text) for block in worked_on)),
        seconds * times,
    )


def sample_texts(infos: Sequence[files.FileInfo], options: InputFormat) -> list[str]:
    """The documents of ``sample_blocks``."""
    return [text for _, block in sample_blocks(infos, options) for text in block.texts()]


def sample_blocks(
    infos: Sequence[files.FileInfo], options: InputFormat
) -> Iterator[tuple[str, DocumentBlock]]:
    """A block of each of some parts of some of the files, with their paths: it takes no time to speak
    of."""
    options = replace(options, on_bad_record="drop")
    for info in choose_evenly(infos, _SAMPLED_FILES):
        for where in _parts(info, options, _WORKED_BYTES // _SAMPLED_FILES):
            for block in islice(read_blocks(where, options), 1):
                yield info.path, block


def choose_evenly(items: Sequence[T], count: int) -> list[T]:
    """So many of the items, evenly from all."""
    places = np.linspace(0, len(items) - 1, min(count, len(items))).round().astype(int)
    return [items[i] for i in sorted({*places.tolist()})]


def _parts(info: files.FileInfo, options: InputFormat, most: int) -> list[FileRange]:
    """Ranges of a file that have about ``most`` bytes of content together."""
    if info.size <= most and not split_extension(info.path)[1]:
        return [FileRange(info.path)]
    if not is_splittable(info, options):
        return [FileRange(info.path, 0, most)]
    size = most // _PARTS
    starts = np.linspace(0, info.size - size, _PARTS).astype(int).tolist()
    return [FileRange(info.path, start, start + size) for start in starts]


def _read_sample(
    info: files.FileInfo, options: InputFormat, most: int
) -> tuple[list[DocumentBlock], float]:
    """Documents of a file, and the share of the file that they are."""
    parts = _parts(info, options, most)
    if resolve_format(info.path, options.input_format) == "parquet":
        return _read_parquet(info, options, most)
    blocks = [block for where in parts for block in read_blocks(where, options)]
    if split_extension(info.path)[1]:
        return blocks, _stored_share(info, most)
    return blocks, min(1.0, most / max(info.size, 1))


def _read_parquet(
    info: files.FileInfo, options: InputFormat, most: int
) -> tuple[list[DocumentBlock], float]:
    """The first documents of a table, and the share of its rows that they are."""
    blocks: list[DocumentBlock] = []
    size = rows = 0
    for block in read_blocks(FileRange(info.path), options):
        blocks.append(block)
        size += len(block.text)
        rows += block.counts["documents_in"]
        if size >= most:
            break
    with open_parquet(info.path) as table:
        all_rows = table.metadata.num_rows
    return blocks, min(1.0, rows / max(1, all_rows))


def _stored_share(info: files.FileInfo, most: int) -> float:
    """The share of a compressed file as stored that its first ``most`` bytes of content take."""
    with files.open_read(info.path) as raw, open_content(info.path, raw) as content:
        left = most
        while left and (piece := content.read(min(left, 1 << 20))):
            left -= len(piece)
        return 1.0 if left else min(1.0, raw.tell() / max(info.size, 1))
