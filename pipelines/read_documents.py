"""The Beam source of all stages that read text: files to blocks of documents."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import apache_beam as beam

from pipelines.documents import DocumentBlock, FileRange, InputFormat, plan_ranges, read_blocks
from pipelines.files import FileInfo


class _ReadRange(beam.DoFn):
    def __init__(self, options: InputFormat):
        self._options = options

    def process(self, element: FileRange) -> Iterator[DocumentBlock]:
        yield from read_blocks(element, self._options)


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
