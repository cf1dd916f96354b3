"""One shard, from its blocks of token ids to its packed rows: pure, and a function of its documents.

The blocks may arrive in any order and any grouping; sorting by a key of the document's content puts
the documents into the one order that packing sees. Memory holds one chunk of a shard at a time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pipelines.keyed_random import fold, purpose_key
from pipelines.records.ragged import Columns
from pipelines.text.vocabulary import Vocabulary
from pipelines.tokenize.config import TokenizeConfig
from pipelines.tokenize.pack import pack_rows
from pipelines.tokenize.sentences import find_sentences, mark_vocabulary
from pipelines.tokenize.stored_blocks import StoredDocuments, TokenBlock

# Tokens packed at a time. Enough for rows to be full, few enough that a shard may be of any size.
CHUNK_TOKENS = 1 << 22


def count_occurrences(doc_ids: NDArray[np.uint64]) -> NDArray[np.int64]:
    """For ids sorted so that equal ones are neighbours: 0 for the first of its kind, 1, 2, …"""
    positions = np.arange(len(doc_ids))
    first = np.ones(len(doc_ids), bool)
    first[1:] = doc_ids[1:] != doc_ids[:-1]
    return positions - np.maximum.accumulate(np.where(first, positions, 0))


@lru_cache(maxsize=1)
def _sentence_marks(vocabulary: Vocabulary) -> NDArray[np.uint8]:
    return mark_vocabulary(vocabulary.tokens)


def build_shard(
    documents: StoredDocuments, config: TokenizeConfig, vocabulary: Vocabulary
) -> Iterator[tuple[Columns, Counter[str]]]:
    """The packed rows of a shard's documents, and the counts of what became of them, in parts.

    The documents are put into their keyed random order, which is a function of their content, and
    packed about ``CHUNK_TOKENS`` at a time: so each part is a random sample of the shard, and only
    one is in memory. At least one part, if one without rows.
    """
    order = _order_documents(documents, config.seed)
    doc_ids, lengths = documents.doc_ids[order], documents.lengths[order]
    occurrence = count_occurrences(doc_ids)
    duplicates: Counter[str] = Counter()
    if config.deduplicate:
        kept = np.flatnonzero(occurrence == 0)
        duplicates["documents_dropped_duplicate"] = len(order) - len(kept)
        duplicates["tokens_dropped_duplicate"] = int(lengths.sum() - lengths[kept].sum())
        order, lengths, occurrence = order[kept], lengths[kept], occurrence[kept]
    for chunk in _cut_in_chunks(lengths):
        block = documents.take(order[chunk])
        columns, counts = _pack(block, occurrence[chunk], config, vocabulary)
        counts.update(duplicates)
        yield columns, counts
        duplicates.clear()


def _order_documents(documents: StoredDocuments, seed: int) -> NDArray[np.int64]:
    """Indices of the documents in their keyed random order, equal documents side by side."""
    order_key = fold(purpose_key(seed, "document order"), documents.doc_ids)
    # Two texts could share a 64-bit id; their lengths then decide. Equal documents are alike.
    return np.lexsort((documents.lengths, documents.doc_ids, order_key))


def _cut_in_chunks(lengths: NDArray[np.int64]) -> list[slice]:
    """Cuts documents, in order, into chunks of about equally many tokens; at least one chunk."""
    total = int(lengths.sum())
    chunks = max(1, -(-total // CHUNK_TOKENS))
    begins = np.cumsum(lengths) - lengths
    bounds = np.searchsorted(begins, np.arange(1, chunks) * total / chunks).tolist()
    return [slice(a, b) for a, b in pairwise([0, *bounds, len(lengths)])]


def _pack(
    block: TokenBlock,
    occurrence: NDArray[np.int64],
    config: TokenizeConfig,
    vocabulary: Vocabulary,
) -> tuple[Columns, Counter[str]]:
    assert config.packing != "examples"  # Those have a pipeline of their own.
    counts: Counter[str] = Counter()
    sentences = None
    if config.packing == "pairs":
        marks = _sentence_marks(vocabulary)
        sentences = find_sentences(block.token_ids, block.offsets, marks)
    columns, packed = pack_rows(
        block.token_ids,
        block.offsets,
        block.doc_ids,
        occurrence,
        packing=config.packing,
        seq_length=config.seq_length,
        cls_id=vocabulary.cls_id,
        sep_id=vocabulary.sep_id,
        seed=config.seed,
        split_to_fill=config.split_to_fill,
        sentences=sentences,
        pair_task=config.pair_task,
        short_seq_prob=config.short_seq_prob,
    )
    counts["documents_out"] = packed.documents_out
    counts["tokens_out"] = packed.tokens_out
    counts["special_tokens"] = packed.special_tokens
    counts["segments"] = packed.segments
    for reason, number in packed.documents_dropped.items():
        counts[f"documents_dropped_{reason}"] += number
    for reason, number in packed.tokens_dropped.items():
        counts[f"tokens_dropped_{reason}"] += number
    return columns, counts
