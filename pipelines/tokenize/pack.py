"""Packing: the token ids of one shard's documents become the rows that are trained on.

``pack_rows`` is a pure function of its arguments: the same documents in the same order give the
same rows, and no draw depends on the shard or on time. Every token that comes in goes out or is
counted under the reason why not. Identical documents are told apart by ``occurrence``, so rows have
distinct ``row_id``s.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import UserError
from pipelines.records.ragged import Columns
from pipelines.tokenize.pack_documents import fit_documents
from pipelines.tokenize.pack_full import cut_stream
from pipelines.tokenize.pack_pairs import PairTask, join_halves, pair_sentences
from pipelines.tokenize.pieces import Documents, Pieces, lay_out

Packing = Literal["documents", "full", "pairs"]

MIN_SEQ_LENGTH = 8
MAX_SEQ_LENGTH = 65535  # lengths within a row are stored as uint16


@dataclass
class PackCounts:
    """What went into packing and what came out; ``+`` adds the counts of two shards.

    Tokens are without special tokens except in ``special_tokens`` ([CLS] and [SEP]); ``segments``
    are the pieces of documents in the rows; ``positions`` is rows times ``seq_length``.
    """

    documents_in: int = 0
    documents_out: int = 0
    documents_dropped: Counter[str] = field(default_factory=Counter)
    tokens_in: int = 0
    tokens_out: int = 0
    tokens_dropped: Counter[str] = field(default_factory=Counter)
    special_tokens: int = 0
    segments: int = 0
    rows: int = 0
    positions: int = 0

    @property
    def fill(self) -> float:
        """The share of the positions that holds a token, special tokens included; 1 if no rows."""
        return (self.tokens_out + self.special_tokens) / self.positions if self.positions else 1.0

    def __add__(self, other: PackCounts) -> PackCounts:
        return PackCounts(
            **{name: value + getattr(other, name) for name, value in vars(self).items()}
        )

    def check(self) -> None:
        """Raises ValueError unless everything that came in went out or was dropped by a reason."""
        if self.tokens_in != self.tokens_out + self.tokens_dropped.total():
            raise ValueError(f"packing lost tokens: {self}")
        if self.documents_in != self.documents_out + self.documents_dropped.total():
            raise ValueError(f"packing lost documents: {self}")


def pack_rows(
    token_ids: NDArray[np.integer],
    offsets: NDArray[np.int64],
    doc_ids: NDArray[np.uint64],
    occurrence: NDArray[np.int64],
    *,
    packing: Packing,
    seq_length: int,
    cls_id: int | None,
    sep_id: int | None,
    seed: int,
    split_to_fill: bool = False,
    sentences: NDArray[np.int64] | None = None,
    pair_task: PairTask = "next_sentence",
    short_seq_prob: float = 0.1,
) -> tuple[Columns, PackCounts]:
    """Packs the n documents of a shard into rows of at most ``seq_length`` tokens.

    ``token_ids`` integers[T] (no special tokens), ``offsets`` int64[n + 1], ``doc_ids``
    uint64[n] in the shard's key order, ``occurrence`` int64[n]. ``split_to_fill`` is for
    ``documents``; ``sentences`` (places in ``token_ids``, see ``find_sentences``; needed),
    ``pair_task`` and ``short_seq_prob`` are for ``pairs``.

    Returns the rows and the counts, which balance. The rows' columns: ``row_id`` uint64; ragged
    ``token_ids`` of the same dtype, with special tokens and without padding; ragged
    ``segment_lengths`` uint16 and ``doc_ids`` uint64, one per run; for ``pairs`` also ragged
    ``segment_ids`` uint8, and ``next_sentence_labels`` uint8.

    Raises UserError for a ``seq_length`` outside 8..65535, an unknown ``packing`` or a vocabulary
    without [CLS] or [SEP]; ValueError for arrays that do not fit together.
    """
    _check_options(packing, seq_length, short_seq_prob, {"[CLS]": cls_id, "[SEP]": sep_id})
    assert cls_id is not None
    assert sep_id is not None
    if not len(offsets) - 1 == len(doc_ids) == len(occurrence) or offsets[-1] != len(token_ids):
        raise ValueError(
            f"{len(token_ids)} tokens, {len(offsets)} offsets up to {offsets[-1]}, "
            f"{len(doc_ids)} doc_ids and {len(occurrence)} occurrences do not fit together"
        )
    documents = Documents(token_ids, offsets, doc_ids, occurrence)
    dropped: dict[str, int] = {}
    labels = None
    if packing == "documents":
        pieces = fit_documents(documents, seq_length, split_to_fill=split_to_fill, seed=seed)
    elif packing == "full":
        pieces = cut_stream(documents, seq_length)
    else:
        if sentences is None:
            raise ValueError("packing pairs needs the places where sentences begin")
        pieces, labels, dropped = pair_sentences(
            documents,
            sentences,
            seq_length,
            task=pair_task,
            short_seq_prob=short_seq_prob,
            seed=seed,
        )
    columns, order = lay_out(documents, pieces, cls_id=cls_id, sep_id=sep_id, seed=seed)
    if labels is not None:
        columns = join_halves(columns, labels[order])
    counts = _count(documents, pieces, dropped, seq_length)
    counts.check()
    return columns, counts


def _count(
    documents: Documents, pieces: Pieces, dropped: dict[str, int], seq_length: int
) -> PackCounts:
    """Counts what is in the pieces, apart from how they were made."""
    empty = int((documents.lengths == 0).sum())
    absent = np.ones(len(documents.doc_ids), np.bool_)
    absent[pieces.document] = False
    documents_dropped = {"empty": empty, "too_short_for_a_pair": int(absent.sum()) - empty}
    rows = len(pieces.first)
    return PackCounts(
        documents_in=len(documents.doc_ids),
        documents_out=int((~absent).sum()),
        documents_dropped=Counter({k: n for k, n in documents_dropped.items() if n}),
        tokens_in=len(documents.token_ids),
        tokens_out=int(pieces.length.sum()),
        tokens_dropped=Counter({k: n for k, n in dropped.items() if n}),
        special_tokens=len(pieces) + int(pieces.leads.sum()),
        segments=len(pieces),
        rows=rows,
        positions=rows * seq_length,
    )


def _check_options(
    packing: str, seq_length: int, short_seq_prob: float, special_ids: dict[str, int | None]
) -> None:
    if packing not in get_args(Packing):
        raise UserError(f"packing is {packing!r}: choose one of {', '.join(get_args(Packing))}")
    if not MIN_SEQ_LENGTH <= seq_length <= MAX_SEQ_LENGTH:
        raise UserError(
            f"seq_length is {seq_length}: choose one from {MIN_SEQ_LENGTH} to {MAX_SEQ_LENGTH}"
        )
    if not 0 <= short_seq_prob <= 1:
        raise UserError(f"short_seq_prob is {short_seq_prob}: choose a probability from 0 to 1")
    for token, token_id in special_ids.items():
        if token_id is None or token_id < 0:
            raise UserError(f"the vocabulary has no {token} token, which every row needs: add it")
