"""Shards are functions of their documents, in parts that never depend on how they arrived."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from pipelines.records.ragged import (
    Columns,
    Ragged,
    concatenate,
    offsets_of,
    row_count,
    take,
)
from pipelines.records.shards import ShardReader, write_shard
from pipelines.text.vocabulary import Vocabulary
from pipelines.tokenize import shard
from pipelines.tokenize.config import TokenizeConfig
from pipelines.tokenize.shard import build_shard
from pipelines.tokenize.stored_blocks import BlockFile, StoredDocuments
from pipelines.tokenize.token_tables import empty_table

VOCABULARY = Vocabulary(
    ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"p{i}" for i in range(995)), ".")
)


def make_documents(count: int) -> Columns:
    random = np.random.default_rng(0)
    offsets = offsets_of(random.integers(1, 200, count))
    table: Columns = {
        "token_ids": Ragged(random.integers(5, 1001, offsets[-1]).astype(np.uint16), offsets),
        "doc_ids": random.integers(0, 1 << 62, count).astype(np.uint64),
    }
    return take(table, np.append(np.arange(count), np.arange(count // 10)))  # some twice


def make_examples(count: int) -> Columns:
    """The same documents as examples of two texts, with labels."""
    table = make_documents(count)
    lengths = np.minimum(table["token_ids"].lengths, 61)
    rows = np.arange(len(lengths))
    halves = np.stack([lengths // 3, lengths - lengths // 3], axis=1)
    return table | {
        "token_ids": table["token_ids"].take_starts(rows, lengths),
        "text_lengths": Ragged(halves.reshape(-1), np.append(rows, len(rows)) * 2),
        "label": Ragged((rows % 3 + ord("a")).astype(np.uint8), np.append(rows, len(rows))),
        "tokens_cut": np.zeros(len(rows), np.uint32),
    }


def token_list(table: Columns) -> list[int]:
    return table["token_ids"].values.tolist()


def store(folder, table: Columns, parts: int, seed: int) -> StoredDocuments:
    """The documents in any order, in several blocks."""
    order = np.random.default_rng(seed).permutation(row_count(table))
    file = BlockFile(str(folder))
    stored = [file.append(take(table, part)) for part in np.array_split(order, parts)]
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
        found.update(token_list(columns))
    for special in (VOCABULARY.cls_id, VOCABULARY.sep_id):
        found.pop(special, None)
    return found


@pytest.mark.parametrize("packing", ["documents", "full", "pairs", "examples"])
@pytest.mark.parametrize("chunk_tokens", [2_000, 10_000_000])
def test_arrival_does_not_matter_and_no_token_is_lost(tmp_path, monkeypatch, packing, chunk_tokens):
    monkeypatch.setattr(shard, "CHUNK_TOKENS", chunk_tokens)
    block = make_examples(400) if packing == "examples" else make_documents(400)
    tokens = token_list(block)
    first, counts = build(store(tmp_path, block, 5, seed=1), packing=packing)
    second, _ = build(store(tmp_path, block, 2, seed=2), packing=packing)
    assert len(first) == len(second) == max(1, -(-len(tokens) // chunk_tokens))
    files = []
    for number, parts in enumerate((first, second)):
        folder = tmp_path / str(number)
        folder.mkdir()
        write_shard(str(folder), "shard", parts, "array_record")
        files.append((folder / "shard").read_bytes())
    assert files[0] == files[1]
    dropped = sum(n for name, n in counts.items() if name.startswith("tokens_dropped"))
    assert counts["tokens_out"] + dropped == len(tokens)
    if packing != "pairs":
        assert tokens_of(first) == Counter(tokens)
    if packing == "examples":
        # In chunks or whole, the shard has the same rows in the same order.
        monkeypatch.setattr(shard, "CHUNK_TOKENS", 300)
        small, _ = build(store(tmp_path, block, 3, seed=3), packing=packing)
        assert len(small) > len(first)
        assert token_list(concatenate(small)) == token_list(concatenate(first))
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
    assert counts["tokens_out"] + counts["tokens_dropped_duplicate"] == len(token_list(block))
    assert tokens_of(parts) == Counter(token_list(take(block, np.arange(100))))


@pytest.mark.parametrize("packing", ["documents", "full", "pairs", "examples"])
def test_a_shard_without_documents_has_one_part_without_rows(tmp_path, packing):
    file = BlockFile(str(tmp_path))
    table = empty_table(config(packing=packing), VOCABULARY)
    parts, _ = build(StoredDocuments([file.append(table)]), packing=packing)
    assert [row_count(part) for part in parts] == [0]


def test_a_shard_in_parts_is_the_shard(tmp_path):
    parts, _ = build(store(tmp_path, make_documents(50), 1, seed=1))
    for format in ("array_record", "tfrecord"):
        whole, schema = write_shard(str(tmp_path), "whole", parts, format)
        half = row_count(parts[0]) // 2
        pieces = [
            take(parts[0], np.arange(half)),
            take(parts[0], np.arange(half, row_count(parts[0]))),
        ]
        split, _ = write_shard(str(tmp_path), "split", pieces, format)
        assert (split.records, split.sha256) == (whole.records, whole.sha256)
        assert len(ShardReader(str(tmp_path / "split"), split, schema, format)) == whole.records
