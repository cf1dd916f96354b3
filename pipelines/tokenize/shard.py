"""One shard, from its blocks of token ids to its packed rows: pure, and a function of its documents.

The blocks may arrive in any order and any grouping; sorting by a key of the document's content puts
them into the one order that packing sees.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.columns import Columns, Ragged, offsets_of, take_ragged
from pipelines.keyed_random import fold, purpose_key
from pipelines.records import token_dtype
from pipelines.tokenize.config import TokenizeConfig
from pipelines.tokenize.pack import pack_rows
from pipelines.tokenize.sentences import find_sentences, mark_vocabulary
from pipelines.vocabulary import Vocabulary


@dataclass(frozen=True)
class TokenBlock:
    """n documents as token ids without special tokens: flat ids, int64[n + 1] offsets, uint64[n]
    ids."""

    token_ids: NDArray[Any]
    offsets: NDArray[np.int64]
    doc_ids: NDArray[np.uint64]

    @staticmethod
    def empty(vocabulary_size: int) -> TokenBlock:
        """A block without documents."""
        return TokenBlock(
            np.zeros(0, token_dtype(vocabulary_size)), np.zeros(1, np.int64), np.zeros(0, np.uint64)
        )

    def take(self, documents: NDArray[np.int64]) -> TokenBlock:
        """The documents with the given indices, in that order."""
        taken = take_ragged(Ragged(self.token_ids, self.offsets), documents)
        return TokenBlock(taken.values, taken.offsets, self.doc_ids[documents])


def join_blocks(blocks: Iterable[TokenBlock]) -> TokenBlock:
    """All documents of at least one block, in the blocks' order."""
    parts = list(blocks)
    return TokenBlock(
        np.concatenate([part.token_ids for part in parts]),
        offsets_of(np.concatenate([np.diff(part.offsets) for part in parts])),
        np.concatenate([part.doc_ids for part in parts]),
    )


def sort_documents(block: TokenBlock, seed: int) -> TokenBlock:
    """The documents in their keyed random order, equal documents side by side."""
    order_key = fold(purpose_key(seed, "document order"), block.doc_ids)
    lengths = np.diff(block.offsets)
    # Two texts could share a 64-bit id; their lengths then decide. Equal documents are alike.
    return block.take(np.lexsort((lengths, block.doc_ids, order_key)))


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
    block: TokenBlock, config: TokenizeConfig, vocabulary: Vocabulary
) -> tuple[Columns, Counter[str]]:
    """The packed rows of a shard's documents and the counts of what became of them."""
    counts: Counter[str] = Counter()
    block = sort_documents(block, config.seed)
    occurrence = count_occurrences(block.doc_ids)
    if config.deduplicate:
        repeated = occurrence > 0
        counts["documents_dropped_duplicate"] = int(repeated.sum())
        counts["tokens_dropped_duplicate"] = int(np.diff(block.offsets)[repeated].sum())
        kept = np.flatnonzero(~repeated)
        block, occurrence = block.take(kept), occurrence[kept]
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
