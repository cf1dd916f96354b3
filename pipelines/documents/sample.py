"""A sample of the input, to estimate what a run over all of it will take: for ``--dry_run``.

The first megabytes of some of the files, assumed to be like the rest.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice

import numpy as np

from pipelines.documents.blocks import DocumentBlock, read_blocks
from pipelines.documents.config import InputFormat
from pipelines.documents.formats import resolve_format
from pipelines.documents.line_ranges import FileRange
from pipelines.documents.open_content import open_content, split_extension
from pipelines.errors import UserError
from pipelines.storage import files

_SAMPLED_FILES = 4
_SAMPLED_BYTES = 2 << 20  # of each


def sample_input(
    infos: Sequence[files.FileInfo], options: InputFormat
) -> tuple[list[DocumentBlock], float]:
    """Blocks of documents, and how many times as large the whole input is.

    Raises UserError if the sample holds no document.
    """
    stored = 0.0
    blocks: list[DocumentBlock] = []
    for info in _choose_files(infos):
        sample, share = _read_sample(info, options)
        stored += info.size * share
        blocks += [block for block in sample if len(block)]
    if not blocks:
        raise UserError(
            "no documents in the sample of the input; check --input, --input_format and --text_field"
        )
    return blocks, sum(info.size for info in infos) / max(stored, 1.0)


def sample_texts(infos: Sequence[files.FileInfo], options: InputFormat) -> list[str]:
    """The documents of ``sample_blocks``."""
    return [text for _, block in sample_blocks(infos, options) for text in block.texts()]


def sample_blocks(
    infos: Sequence[files.FileInfo], options: InputFormat
) -> Iterator[tuple[str, DocumentBlock]]:
    """The first block of some of the files, with their paths: it takes no time to speak of."""
    options = replace(options, on_bad_record="drop")
    for info in _choose_files(infos):
        for block in islice(read_blocks(FileRange(info.path, 0, _SAMPLED_BYTES), options), 1):
            yield info.path, block


def _choose_files(infos: Sequence[files.FileInfo]) -> list[files.FileInfo]:
    places = np.linspace(0, len(infos) - 1, _SAMPLED_FILES).round().astype(int)
    return sorted({infos[i] for i in places})


def _read_sample(info: files.FileInfo, options: InputFormat) -> tuple[list[DocumentBlock], float]:
    """The first documents of a file, and the share of the file that they are."""
    # The sample may end inside an article; what is wrong with the input is the run's to say.
    options = replace(options, on_bad_record="drop")
    if resolve_format(info.path, options.input_format) == "parquet":
        return list(read_blocks(FileRange(info.path), options)), 1.0
    return list(read_blocks(FileRange(info.path, 0, _SAMPLED_BYTES), options)), _stored_share(info)


def _stored_share(info: files.FileInfo) -> float:
    """The share of a file as stored that its first ``_SAMPLED_BYTES`` of content take."""
    if not split_extension(info.path)[1]:
        return min(1.0, _SAMPLED_BYTES / max(info.size, 1))
    # Compressed content is assumed to be as dense as its beginning.
    with files.open_read(info.path) as raw, open_content(info.path, raw) as content:
        if len(content.read(_SAMPLED_BYTES)) < _SAMPLED_BYTES:
            return 1.0
        return min(1.0, raw.tell() / max(info.size, 1))
