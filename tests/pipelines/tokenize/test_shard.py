"""Shards are functions of their documents, in parts that never depend on how they arrived."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from pipelines.records.codec import schema_of
from pipelines.records.ragged import Columns, Ragged, offsets_of, row_count
from pipelines.records.shards import ShardReader, write_shard, write_shard_parts
from pipelines.text.vocabulary import Vocabulary
from pipelines.tokenize import shard
from pipelines.tokenize.config import TokenizeConfig
from pipelines.tokenize.shard import build_shard
from pipelines.tokenize.stored_blocks import BlockFile, StoredDocuments, TokenBlock

VOCABULARY = Vocabulary(
    ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"p{i}" for i in range(995)), ".")
)


def make_documents(count: int) -> TokenBlock:
    random = np.random.default_rng(0)
    lengths = random.integers(1, 200, count)
    offsets = offsets_of(lengths)
    ids = random.integers(5, 1001, offsets[-1]).astype(np.uint16)
    doc_ids = random.integers(0, 1 << 62, count).astype(np.uint64)
    block = TokenBlock(ids, offsets, doc_ids)
    return block.take(np.append(np.arange(count), np.arange(count // 10)))  # some twice


def store(folder, block: TokenBlock, parts: int, seed: int) -> StoredDocuments:
    """The documents in any order, in several blocks."""
    order = np.random.default_rng(seed).permutation(len(block))
    file = BlockFile(str(folder))
    stored = [file.append(block.take(part)) for part in np.array_split(order, parts)]
    file.close()
    return StoredDocuments(stored)


def config(**fields) -> TokenizeConfig:
    return TokenizeConfig(input=("x",), vocab="x", output="x", **{"seq_length": 64, **fields})


def build(documents: StoredDocuments, **fields) -> tuple[list[Columns], Counter[str]]:
    counts: Counter[str] = Counter()
    parts = []
    for columns, part in build_shard(documents, config(**fields), VOCABULARY):
        parts.append(columns)
        counts.update(part)
    return parts, counts


def tokens_of(parts: list[Columns]) -> Counter[int]:
    found: Counter[int] = Counter()
    for columns in parts:
        tokens = columns["token_ids"]
        assert isinstance(tokens, Ragged)
        found.update(tokens.values.tolist())
    for special in (VOCABULARY.cls_id, VOCABULARY.sep_id):
        found.pop(special, None)
    return found


@pytest.mark.parametrize("packing", ["documents", "full", "pairs"])
@pytest.mark.parametrize("chunk_tokens", [2_000, 10_000_000])
def test_arrival_does_not_matter_and_no_token_is_lost(tmp_path, monkeypatch, packing, chunk_tokens):
    monkeypatch.setattr(shard, "CHUNK_TOKENS", chunk_tokens)
    block = make_documents(400)
    first, counts = build(store(tmp_path, block, 5, seed=1), packing=packing)
    second, _ = build(store(tmp_path, block, 2, seed=2), packing=packing)
    assert len(first) == len(second) == max(1, -(-len(block.token_ids) // chunk_tokens))
    files = []
    for number, parts in enumerate((first, second)):
        folder = tmp_path / str(number)
        folder.mkdir()
        write_shard_parts(str(folder), "shard", parts, schema_of(parts[0]), "array_record")
        files.append((folder / "shard").read_bytes())
    assert files[0] == files[1]
    dropped = sum(n for name, n in counts.items() if name.startswith("tokens_dropped"))
    assert counts["tokens_out"] + dropped == len(block.token_ids)
    if packing != "pairs":
        assert tokens_of(first) == Counter(block.token_ids.tolist())
    ids = np.concatenate([np.asarray(part["row_id"]) for part in first])
    assert len(np.unique(ids)) == len(ids)


def test_chunks_fill_their_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(shard, "CHUNK_TOKENS", 10_000)
    parts, counts = build(store(tmp_path, make_documents(2_000), 3, seed=1), split_to_fill=True)
    assert len(parts) > 10
    rows = sum(map(row_count, parts))
    assert (counts["tokens_out"] + counts["special_tokens"]) / (rows * 64) > 0.99


def test_duplicates_are_dropped_across_chunks(tmp_path, monkeypatch):
    monkeypatch.setattr(shard, "CHUNK_TOKENS", 500)
    block = make_documents(100)
    parts, counts = build(store(tmp_path, block, 4, seed=1), deduplicate=True)
    assert counts["documents_dropped_duplicate"] == 10
    assert counts["documents_out"] == 100
    assert counts["tokens_out"] + counts["tokens_dropped_duplicate"] == len(block.token_ids)
    assert tokens_of(parts) == Counter(block.take(np.arange(100)).token_ids.tolist())


def test_a_shard_without_documents_has_one_part_without_rows(tmp_path):
    file = BlockFile(str(tmp_path))
    empty = StoredDocuments([file.append(TokenBlock.empty(VOCABULARY.size))])
    parts, _ = build(empty)
    assert [row_count(part) for part in parts] == [0]


def test_a_shard_in_parts_is_the_shard(tmp_path):
    parts, _ = build(store(tmp_path, make_documents(50), 1, seed=1))
    schema = schema_of(parts[0])
    for format in ("array_record", "tfrecord"):
        whole = write_shard(str(tmp_path), "whole", parts[0], schema, format)
        half = row_count(parts[0]) // 2
        pieces = [
            shard_rows(parts[0], np.arange(half)),
            shard_rows(parts[0], np.arange(half, row_count(parts[0]))),
        ]
        split = write_shard_parts(str(tmp_path), "split", pieces, schema, format)
        assert (split.records, split.sha256) == (whole.records, whole.sha256)
        assert len(ShardReader(str(tmp_path / "split"), split, schema, format)) == whole.records


def shard_rows(columns: Columns, rows) -> Columns:
    from pipelines.records.ragged import take

    return take(columns, rows)
