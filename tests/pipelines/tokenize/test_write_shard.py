"""A shard is written in the memory of a part of it, whatever comes over the network."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator

import numpy as np
import pytest

from pipelines.records.ragged import Columns, Ragged, row_count
from pipelines.text.vocabulary import Vocabulary
from pipelines.text.vocabulary_source import save_vocabulary
from pipelines.tokenize import shard, stored_blocks
from pipelines.tokenize.config import TokenizeConfig
from pipelines.tokenize.transforms import WriteShard

VOCABULARY = Vocabulary(("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *map(str, range(995))))
TABLES, DOCUMENTS, TOKENS = 30, 200, 500


def make_table(number: int, packing: str) -> Columns:
    """200 KB of token ids, and in examples as much of labels, which are all different."""
    random = np.random.default_rng(number)
    offsets = np.arange(DOCUMENTS + 1) * TOKENS
    table: Columns = {
        "token_ids": Ragged(random.integers(5, 1000, offsets[-1]).astype(np.uint16), offsets),
        "doc_ids": random.integers(0, 1 << 62, DOCUMENTS).astype(np.uint64),
    }
    if packing == "examples":
        table |= {
            "text_lengths": Ragged(np.full(DOCUMENTS, TOKENS), np.arange(DOCUMENTS + 1)),
            "label": Ragged(random.integers(97, 99, 2 * offsets[-1]).astype(np.uint8), 2 * offsets),
            "tokens_cut": np.zeros(DOCUMENTS, np.uint32),
        }
    assert row_count(table) == DOCUMENTS
    return table


@pytest.mark.parametrize("packing", ["documents", "examples"])
def test_memory_is_that_of_a_part(tmp_path, monkeypatch, packing):
    monkeypatch.setattr(shard, "CHUNK_TOKENS", 1 << 15)
    monkeypatch.setattr(stored_blocks, "_JOINED_TOKENS", 1 << 15)
    save_vocabulary(str(tmp_path), VOCABULARY)
    labels = {"label_field": "label"} if packing == "examples" else {}
    config = TokenizeConfig(
        input=("x",), vocab="x", output=str(tmp_path), packing=packing, num_shards=1, **labels
    )
    write = WriteShard(config, VOCABULARY.fingerprint, apart=False)

    def arriving() -> Iterator[Columns]:
        yield from (make_table(number, packing) for number in range(TABLES))

    (small,) = write.process((0, [make_table(0, packing)]))  # what is imported once
    assert small.counts["documents_out"] == DOCUMENTS
    tracemalloc.start()
    (report,) = write.process((0, arriving()))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert report.counts["documents_out"] == TABLES * DOCUMENTS
    token_bytes = TABLES * DOCUMENTS * TOKENS * 2
    assert peak < token_bytes
