"""The Beam sources of all stages that read text: files to blocks of documents, or of labelled texts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import apache_beam as beam

from pipelines.beam.step_times import time_each
from pipelines.beam.tally import tally
from pipelines.documents.blocks import (
    BLOCK_BYTES,
    DocumentBlock,
    make_block,
    plan_ranges,
    read_blocks,
)
from pipelines.documents.config import InputFormat
from pipelines.documents.labelled import Fields, LabelledText, read_file
from pipelines.documents.line_ranges import FileRange
from pipelines.documents.sent_module import SentModule, find_module
from pipelines.records.manifest import check_balance
from pipelines.storage.files import FileInfo

RANGES_READ, BLOCKS_SENT, BLOCKS_ARRIVED = "ranges_read", "blocks_sent", "blocks_arrived"


@dataclass(frozen=True)
class LabelledBlock:
    """Labelled texts, and what was read and dropped on the way to them, as in a DocumentBlock."""

    examples: list[LabelledText]
    counts: Counter[str]

    def __len__(self) -> int:
        return len(self.examples)


Block = DocumentBlock | LabelledBlock


def _read_labelled_blocks(file: FileRange, fields: Fields) -> Iterator[LabelledBlock]:
    """The labelled texts of a file, in blocks of about ``BLOCK_BYTES``; empty ones are dropped."""
    examples: list[LabelledText] = []
    counts = Counter(documents_in=0, documents_dropped_empty=0)
    size = 0
    for example in read_file(file.path, fields, "input"):
        counts["documents_in"] += 1
        if example.is_empty():
            counts["documents_dropped_empty"] += 1
            continue
        examples.append(example)
        size += len(example.text) + len(example.pair or "")
        if size >= BLOCK_BYTES:
            yield LabelledBlock(examples, counts)
            examples, counts, size = [], Counter(), 0
    yield LabelledBlock(examples, counts)


class _Read(beam.DoFn):
    def __init__(self, read: Callable[[FileRange], Iterator[Block]], module: SentModule | None):
        self._read, self._module = read, module

    def setup(self) -> None:
        if self._module:
            self._module.unpack()

    def process(self, element: FileRange) -> Iterator[Block]:
        sent = 0
        times: Counter[str] = Counter()
        for block in time_each(self._read(element), times, "reading"):
            sent += 1
            tally(documents=block.counts["documents_in"], text_bytes=block.counts["bytes_in"])
            block.counts[BLOCKS_ARRIVED] += 1
            yield block
        tally(ranges=1)
        # Last, so that neither a range nor a block can be lost together with its own counts.
        yield make_block([], Counter({RANGES_READ: 1, BLOCKS_SENT: sent}) + times)


def check_reading(counts: Counter[str], planned: int) -> None:
    """Raises RuntimeError unless every range and every block of it has been counted.

    Counts that travel with the data can be lost with it and still balance; the number of ranges
    is known before. Removes what it checks: it depends on how the input is cut into files.
    """
    check_balance({**counts, "planned": planned}, "file ranges", "planned", (RANGES_READ,))
    check_balance(counts, "blocks", BLOCKS_SENT, (BLOCKS_ARRIVED,))
    for name in (RANGES_READ, BLOCKS_SENT, BLOCKS_ARRIVED):
        counts.pop(name, None)


class ReadDocuments(beam.PTransform):
    """Reads the files into a PCollection of DocumentBlock, in no particular order.

    Every worker reads whole files or, where the format allows, byte ranges of large ones: ``ranges``.
    Where ``options`` are the Fields of labelled texts, they are read as LabelledBlocks.
    """

    def __init__(self, infos: Sequence[FileInfo], options: InputFormat | Fields):
        super().__init__()
        self._module: SentModule | None = None
        if isinstance(options, Fields):
            self.ranges = [FileRange(info.path) for info in infos]
            self._read: Callable[..., Any] = partial(_read_labelled_blocks, fields=options)
        else:
            self.ranges = plan_ranges(infos, options)
            self._read = partial(read_blocks, options=options)
            if options.filter:
                self._module = find_module(options.filter.partition(":")[0])

    def expand(self, pipeline: beam.Pipeline) -> beam.PCollection[Any]:
        return (
            pipeline
            | "Ranges" >> beam.Create(self.ranges)
            | "Spread" >> beam.Reshuffle()
            | "Read" >> beam.ParDo(_Read(self._read, self._module)).with_output_types(Any)
        )
