"""The Beam source of all stages that read text: files to blocks of documents."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import apache_beam as beam

from pipelines.documents.blocks import (
    DocumentBlock,
    FileRange,
    InputFormat,
    make_block,
    plan_ranges,
    read_blocks,
)
from pipelines.files import FileInfo
from pipelines.records.manifest import check_balance

RANGES_READ, BLOCKS_SENT, BLOCKS_ARRIVED = "ranges_read", "blocks_sent", "blocks_arrived"


class _ReadRange(beam.DoFn):
    def __init__(self, options: InputFormat):
        self._options = options

    def process(self, element: FileRange) -> Iterator[DocumentBlock]:
        sent = 0
        for block in read_blocks(element, self._options):
            sent += 1
            block.counts[BLOCKS_ARRIVED] += 1
            yield block
        # Last, so that neither a range nor a block can be lost together with its own counts.
        yield make_block([], Counter({RANGES_READ: 1, BLOCKS_SENT: sent}))


def check_reading(counts: Counter[str], planned: int) -> None:
    """Raises RuntimeError unless every range and every block of it has been counted.

    Counts that travel with the data can be lost with it and still balance; the number of ranges
    is known before. Removes what it checks: it depends on how the input is cut into files.
    """
    check_balance({**counts, "planned": planned}, "file ranges", "planned", (RANGES_READ,))
    check_balance(counts, "blocks", BLOCKS_SENT, (BLOCKS_ARRIVED,))
    for name in (RANGES_READ, BLOCKS_SENT, BLOCKS_ARRIVED):
        counts.pop(name, None)


@dataclass
class ReadDocuments(beam.PTransform):
    """Reads the files into a PCollection of DocumentBlock, in no particular order.

    Every worker reads whole files or, where the format allows, byte ranges of large ones.
    """

    found: Sequence[FileInfo]
    options: InputFormat

    def expand(self, pipeline: beam.Pipeline) -> beam.PCollection[DocumentBlock]:
        return (
            pipeline
            | "Ranges" >> beam.Create(plan_ranges(self.found, self.options))
            | "Spread" >> beam.Reshuffle()
            | "Read" >> beam.ParDo(_ReadRange(self.options)).with_output_types(DocumentBlock)
        )
