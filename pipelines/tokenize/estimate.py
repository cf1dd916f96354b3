"""What a run will take, estimated from a sample of its input: for ``--dry_run``.

The sample goes through the real steps, read, encode, pack and write, and everything is scaled by the
size of the input.
"""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from pipelines import files
from pipelines.documents.sample import sample_input
from pipelines.records.codec import schema_of, token_dtype
from pipelines.records.ragged import row_count
from pipelines.records.shards import write_shard
from pipelines.text.vocabulary import Vocabulary
from pipelines.tokenize.config import TokenizeConfig
from pipelines.tokenize.encode import Encoder
from pipelines.tokenize.shard import build_shard
from pipelines.tokenize.stored_blocks import BlockFile, StoredDocuments, TokenBlock, join_blocks


@dataclass(frozen=True)
class Estimate:
    """What the whole input will come to; ``core_seconds`` is work, start-up apart."""

    text_bytes: float
    documents: float
    tokens: float
    rows: float
    output_bytes: float
    core_seconds: float


def estimate_run(
    found: Sequence[files.FileInfo], config: TokenizeConfig, vocabulary: Vocabulary
) -> Estimate:
    """Estimates a run over the files. Raises UserError if the sample holds no document."""
    assert config.lowercase is not None
    assert config.strip_accents is not None
    encoder = Encoder(vocabulary, config.lowercase, config.strip_accents)
    encoder.encode(["start up, which is not counted"])
    counts: Counter[str] = Counter()
    blocks: list[TokenBlock] = []
    began = time.thread_time()
    sample, scale = sample_input(found, config.read_options())
    for block in sample:
        counts.update(block.counts)
        ids, offsets = encoder.encode_block(block.text, block.offsets)
        narrow = ids.astype(token_dtype(vocabulary.size))
        blocks.append(TokenBlock(narrow, offsets, block.doc_ids))
    rows, size = _pack_and_write(join_blocks(blocks), config, vocabulary)
    seconds = time.thread_time() - began
    return Estimate(
        text_bytes=counts["bytes_in"] * scale,
        documents=sum(len(block) for block in blocks) * scale,
        tokens=sum(len(block.token_ids) for block in blocks) * scale,
        rows=rows * scale,
        output_bytes=size * scale,
        core_seconds=seconds * scale,
    )


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
