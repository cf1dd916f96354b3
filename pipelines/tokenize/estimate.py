"""What a run will take, estimated from a sample of its input: for ``--dry_run``.

The sample goes through the real steps, read, encode, pack and write, and everything is scaled by the
size of the input.
"""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing

import numpy as np

from pipelines import files
from pipelines.documents.sample import sample_input
from pipelines.records.codec import token_dtype
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
    encoder = Encoder(vocabulary, bool(config.lowercase), bool(config.strip_accents))
    encoder.encode(["start up, which is not counted"])
    counts: Counter[str] = Counter()
    began = time.thread_time()
    sample, scale = sample_input(matched, config)
    with tempfile.TemporaryDirectory(prefix="bertmill-") as folder:
        stored = []
        with closing(BlockFile(folder)) as file:
            for block in sample:
                table, encoded = encode_documents(block, encoder, config.min_tokens)
                counts.update(block.counts)
                counts.update(encoded)
                stored.append(file.append(table))
        parts = build_shard(StoredDocuments(stored), config, vocabulary)
        shard, _ = write_shard(folder, "sample", (rows for rows, _ in parts), config.format)
    seconds = time.thread_time() - began
    token_bytes = np.dtype(token_dtype(vocabulary.size)).itemsize
    amounts = {
        "text, MB": counts["bytes_in"] * scale / 1e6,
        "documents": round(counts["documents_in"] * scale),
        "tokens": round(counts["tokens_in"] * scale),
        "rows": round(shard.records * scale),
        "output, MB": shard.bytes * scale / 1e6,
        "temporary files, MB": counts["tokens_in"] * token_bytes * scale / 1e6,
    }
    return amounts, seconds * scale
