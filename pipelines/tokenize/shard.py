"""Which shard a document belongs to, and a shard's rows from its documents: functions of keys alone.

The tables of a shard's documents may arrive in any order and any grouping; sorting by a key of the
document's content puts the documents into the one order that packing sees. Memory holds one chunk
of a shard at a time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pipelines.keyed_random import fold, purpose_key, uniform
from pipelines.records.ragged import Columns, begins_run
from pipelines.records.shards import shard_name
from pipelines.text.vocabulary import Vocabulary
from pipelines.tokenize.config import TokenizeConfig
from pipelines.tokenize.pack import pack_rows
from pipelines.tokenize.pieces import name_examples, order_rows
from pipelines.tokenize.sentences import find_sentences, mark_vocabulary
from pipelines.tokenize.stored_blocks import StoredDocuments
from pipelines.tokenize.token_tables import rank_labels

# Tokens packed at a time. Enough for rows to be full, few enough that a shard may be of any size.
CHUNK_TOKENS = 1 << 22


@dataclass(frozen=True)
class Shard:
    """One file to write: its split and its name."""

    split: str
    name: str


def plan_shards(config: TokenizeConfig) -> list[Shard]:
    """All shards of the output; the position in this list is the key that Beam groups by."""
    counts = {"train": config.train_shards, "validation": _count_validation_shards(config)}
    return [
        Shard(split, shard_name(split, index, count, config.format))
        for split, count in counts.items()
        for index in range(count)
    ]


def _count_validation_shards(config: TokenizeConfig) -> int:
    if not config.validation_fraction:
        return 0
    return max(1, round(config.train_shards * config.validation_fraction))


def assign_shards(doc_ids: NDArray[np.uint64], config: TokenizeConfig) -> NDArray[np.int64]:
    """The index in ``plan_shards`` of each document, int64[n]: a function of its id alone."""
    count = config.train_shards
    validation_count = _count_validation_shards(config)
    draw = fold(purpose_key(config.seed, "shard"), doc_ids)
    shards = (draw % np.uint64(count)).astype(np.int64)
    if validation_count:
        held_out = uniform(fold(purpose_key(config.seed, "validation split"), doc_ids))
        beyond = count + (draw % np.uint64(validation_count)).astype(np.int64)
        shards = np.where(held_out < config.validation_fraction, beyond, shards)
    return shards


def build_shard(
    documents: StoredDocuments,
    config: TokenizeConfig,
    vocabulary: Vocabulary,
    near: NDArray[np.uint64] | tuple[()] = (),
) -> Iterator[tuple[Columns, Counter[str]]]:
    """The packed rows of a shard's documents without those of ``near`` (the ``doc_ids`` of
    near-duplicates of others), and their counts, in parts.

    About ``CHUNK_TOKENS`` are packed at a time, in the documents' random order: so each part is a
    random sample of the shard, and only one is in memory. There is always one, if without rows.
    """
    order, occurrence, duplicates = _order_documents(documents, config, near)
    for chunk in _cut_in_chunks(documents.index["lengths"][order]):
        table = documents.take(order[chunk]) | {"occurrence": occurrence[chunk]}
        sentences = None
        if config.packing == "pairs":
            marks = mark_vocabulary(vocabulary.tokens)
            sentences = find_sentences(table["token_ids"], marks)
        rows, counts = pack_rows(
            table, config, cls_id=vocabulary.cls_id, sep_id=vocabulary.sep_id, sentences=sentences
        )
        counts.update(duplicates)
        yield rows, counts
        duplicates.clear()


def _order_documents(
    documents: StoredDocuments, config: TokenizeConfig, near: NDArray[np.uint64] | tuple[()]
) -> tuple[NDArray[np.int64], NDArray[np.int64], Counter[str]]:
    """Indices of the documents in the order to pack them in, the occurrence of each, and the counts
    of the duplicates and near-duplicates that are left out.

    The order is keyed and random; that of labelled documents is already that of their rows.
    """
    doc_ids, lengths = documents.index["doc_ids"], documents.index["lengths"]
    # Texts of one 64-bit id: their label or else length decides. Otherwise equal ones are alike.
    ties = _rank_labels(documents) if config.packing == "examples" else lengths
    order_key = fold(purpose_key(config.seed, "document order"), doc_ids)
    order = np.lexsort((ties, doc_ids, order_key))
    occurrence = _count_occurrences(doc_ids[order])
    duplicates: Counter[str] = Counter()
    if config.deduplicate:
        # All documents of one text are in one shard: what is the first here, is so in the corpus.
        goes = {"duplicate": occurrence > 0}
        if config.deduplicate == "near":
            goes["near_duplicate"] = np.isin(doc_ids[order], near) & ~goes["duplicate"]
        for reason, chosen in goes.items():
            duplicates[f"documents_dropped_{reason}"] = int(chosen.sum())
            duplicates[f"tokens_dropped_{reason}"] = int(lengths[order[chosen]].sum())
        stays = ~np.logical_or.reduce([*goes.values()])
        order, occurrence = order[stays], occurrence[stays]
    if config.packing == "examples":
        by_row = order_rows(name_examples(doc_ids[order], occurrence), config.seed)
        order, occurrence = order[by_row], occurrence[by_row]
    return order, occurrence, duplicates


def _rank_labels(documents: StoredDocuments) -> NDArray[np.int64]:
    """int64[n]: what puts documents of one id into the order of their labels; only theirs are read."""
    doc_ids = documents.index["doc_ids"]
    by_id = np.argsort(doc_ids, kind="stable")
    same = doc_ids[by_id[1:]] == doc_ids[by_id[:-1]]
    repeated = np.union1d(by_id[1:][same], by_id[:-1][same])
    ranks = np.zeros(len(doc_ids), np.int64)
    ranks[repeated] = rank_labels(documents.take(repeated, "label"))
    return ranks


def _count_occurrences(doc_ids: NDArray[np.uint64]) -> NDArray[np.int64]:
    """For ids sorted so that equal ones are neighbours: 0 for the first of its kind, 1, 2, …"""
    positions = np.arange(len(doc_ids))
    return positions - np.maximum.accumulate(np.where(begins_run(doc_ids), positions, 0))


def _cut_in_chunks(lengths: NDArray[np.int64]) -> list[slice]:
    """Cuts documents, in order, into chunks of about equally many tokens; at least one chunk."""
    total = int(lengths.sum())
    chunks = max(1, -(-total // CHUNK_TOKENS))
    begins = np.cumsum(lengths) - lengths
    bounds = np.searchsorted(begins, np.arange(1, chunks) * total / chunks).tolist()
    return [slice(a, b) for a, b in pairwise([0, *bounds, len(lengths)])]
