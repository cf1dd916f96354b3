"""What a run will take, estimated from a sample of its input: for ``--dry_run``.

The first megabytes of some of the files go through the real steps, read, encode, pack and write, and
everything is scaled by the size of the input. Assumed: the sample is like the rest, workers are as
fast as this machine's cores and share the work evenly but for a tenth, and each takes ``START_SECONDS``
to start.
"""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipelines import files
from pipelines.columns import row_count
from pipelines.compression import open_content, split_extension
from pipelines.documents import DocumentBlock, read_blocks
from pipelines.errors import UserError
from pipelines.line_ranges import FileRange
from pipelines.record_formats import InputFormat, resolve_format
from pipelines.records import schema_of, token_dtype
from pipelines.shards import write_shard
from pipelines.tokenize.config import TokenizeConfig
from pipelines.tokenize.encode import Encoder
from pipelines.tokenize.shard import build_shard
from pipelines.tokenize.token_blocks import BlockFile, StoredDocuments, TokenBlock, join_blocks
from pipelines.vocabulary import Vocabulary

START_SECONDS = 10.0
_SHARED_EVENLY = 0.9
_SAMPLED_FILES = 4
_SAMPLED_BYTES = 2 << 20  # of each


@dataclass(frozen=True)
class Estimate:
    """What the whole input will come to; ``core_seconds`` is work, start-up apart."""

    text_bytes: float
    documents: float
    tokens: float
    rows: float
    output_bytes: float
    core_seconds: float

    def seconds(self, workers: int) -> float:
        """Time from start to end with so many workers (cores)."""
        return START_SECONDS + self.core_seconds / workers / _SHARED_EVENLY

    def price(self, workers: int, price_per_hour: float) -> float:
        """What that costs, where a worker costs ``price_per_hour``, in the same currency."""
        return workers * self.seconds(workers) / 3600 * price_per_hour


def estimate_run(
    found: Sequence[files.FileInfo], config: TokenizeConfig, vocabulary: Vocabulary
) -> Estimate:
    """Estimates a run over the files. Raises UserError if the sample holds no document."""
    assert config.lowercase is not None
    assert config.strip_accents is not None
    chosen = [found[i] for i in np.linspace(0, len(found) - 1, _SAMPLED_FILES).round().astype(int)]
    options = config.read_options()
    encoder = Encoder(vocabulary, config.lowercase, config.strip_accents)
    encoder.encode(["start up, which is not counted"])
    stored = 0.0
    counts: Counter[str] = Counter()
    blocks: list[TokenBlock] = []
    began = time.thread_time()
    for info in sorted(set(chosen)):
        sample, share = _read_sample(info, options)
        stored += info.size * share
        for block in sample:
            counts.update(block.counts)
            if len(block):
                ids, offsets = encoder.encode_block(block.text, block.offsets)
                narrow = ids.astype(token_dtype(vocabulary.size))
                blocks.append(TokenBlock(narrow, offsets, block.doc_ids))
    if not blocks:
        raise UserError(
            "no documents in the sample of the input; check --input, --input_format and --text_field"
        )
    rows, size = _pack_and_write(join_blocks(blocks), config, vocabulary)
    seconds = time.thread_time() - began
    scale = sum(info.size for info in found) / max(stored, 1.0)
    return Estimate(
        text_bytes=counts["bytes_in"] * scale,
        documents=sum(len(block) for block in blocks) * scale,
        tokens=sum(len(block.token_ids) for block in blocks) * scale,
        rows=rows * scale,
        output_bytes=size * scale,
        core_seconds=seconds * scale,
    )


def _read_sample(info: files.FileInfo, options: InputFormat) -> tuple[list[DocumentBlock], float]:
    """The first documents of a file, and the share of the file that they are."""
    # The sample may end inside an article; what is wrong with the input is the run's to say.
    options = replace(options, on_bad_record="drop")
    if resolve_format(info.path, options.input_format) == "parquet":
        blocks = list(read_blocks(FileRange(info.path), options))
        return blocks, 1.0
    blocks = list(read_blocks(FileRange(info.path, 0, _SAMPLED_BYTES), options))
    return blocks, _stored_share(info)


def _stored_share(info: files.FileInfo) -> float:
    """The share of a file as stored that its first ``_SAMPLED_BYTES`` of content take."""
    if not split_extension(info.path)[1]:
        return min(1.0, _SAMPLED_BYTES / max(info.size, 1))
    # Compressed content is taken for as dense as its beginning.
    with files.open_read(info.path) as raw, open_content(info.path, raw) as content:
        read = sum(len(part) for part in _parts(content, _SAMPLED_BYTES))
        return 1.0 if read < _SAMPLED_BYTES else min(1.0, raw.tell() / max(info.size, 1))


def _parts(content: object, size: int) -> Iterator[bytes]:
    while size > 0 and (part := content.read(min(size, 1 << 18))):  # type: ignore[attr-defined]
        size -= len(part)
        yield part


def _pack_and_write(
    block: TokenBlock, config: TokenizeConfig, vocabulary: Vocabulary
) -> tuple[int, int]:
    """Rows and bytes that the documents come to in one shard."""
    with tempfile.TemporaryDirectory(prefix="bertmill-") as folder:
        file = BlockFile(folder)
        documents = StoredDocuments([file.append(block)])
        file.close()
        rows = size = 0
        for number, (columns, _) in enumerate(build_shard(documents, config, vocabulary)):
            name, schema = f"sample-{number}", schema_of(columns)
            size += write_shard(folder, name, columns, schema, config.format).bytes
            rows += row_count(columns)
    return rows, size
