"""What a run will take, estimated from a sample of its input: for ``--dry_run``.

The sample goes through the real steps, read, encode, pack and write, and everything is scaled by the
size of the input.
"""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Sequence

import numpy as np

from pipelines import files
from pipelines.documents.sample import sample_input
from pipelines.records.codec import token_dtype
from pipelines.records.ragged import Columns
from pipelines.records.shards import write_shard
from pipelines.text.vocabulary import Vocabulary
from pipelines.tokenize.config import TokenizeConfig
from pipelines.tokenize.encode import Encoder
from pipelines.tokenize.shard import build_shard
from pipelines.tokenize.stored_blocks import BlockFile, StoredDocuments
from pipelines.tokenize.token_tables import encode_documents


def estimate_run(
    matched: Sequence[files.FileInfo], config: TokenizeConfig, vocabulary: Vocabulary
) -> tuple[dict[str, float], float]:
    """Estimates a run over the files: amounts by name, and the seconds of work for one core.

    Start-up is left out. Raises UserError if the sample holds no document.
    """
    assert config.lowercase is not None
    assert config.strip_accents is not None
    encoder = Encoder(vocabulary, config.lowercase, config.strip_accents)
    encoder.encode(["start up, which is not counted"])
    counts: Counter[str] = Counter()
    tables: list[Columns] = []
    began = time.thread_time()
    sample, scale = sample_input(matched, config)
    for block in sample:
        table, encoded = encode_documents(block, encoder, config.min_tokens)
        counts.update(block.counts)
        counts.update(encoded)
        tables.append(table)
    with tempfile.TemporaryDirectory(prefix="bertmill-") as folder:
        file = BlockFile(folder)
        documents = StoredDocuments([file.append(table) for table in tables])
        file.close()
        for number, (rows, _) in enumerate(build_shard(documents, config, vocabulary)):
            written, _ = write_shard(folder, f"{number}", [rows], config.format)
            counts.update(rows=written.records, bytes_out=written.bytes)
    seconds = time.thread_time() - began
    stored = counts["tokens_in"] * np.dtype(token_dtype(vocabulary.size)).itemsize
    amounts = {
        "text, MB": counts["bytes_in"] * scale / 1e6,
        "documents": round(counts["documents_in"] * scale),
        "tokens": round(counts["tokens_in"] * scale),
        "rows": round(counts["rows"] * scale),
        "output, MB": counts["bytes_out"] * scale / 1e6,
        "temporary files, MB": stored * scale / 1e6,
    }
    return amounts, seconds * scale
