"""Packing: the token ids of one shard's documents become the rows that are trained on.

``pack_rows`` is a pure function of its arguments: the same documents in the same order give the
same rows, and no draw depends on the shard or on time. Every token that comes in goes out or is
counted under the reason why not.

Shapes, here and in all that packs:

    N   documents, in the order of their keys
    T   tokens of all documents, without special tokens
    M   pieces: runs of tokens of one document, each within one row
    R   rows
"""

from __future__ import annotations

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from pipelines.records.ragged import Columns, take
from pipelines.tokenize.config import TokenizeConfig
from pipelines.tokenize.pack_documents import fit_documents
from pipelines.tokenize.pack_full import cut_stream
from pipelines.tokenize.pack_pairs import join_halves, pair_sentences
from pipelines.tokenize.pieces import Pieces, lay_out, name_examples, name_rows, order_rows


def pack_rows(
    documents: Columns,
    config: TokenizeConfig,
    *,
    cls_id: int,
    sep_id: int,
    sentences: NDArray[np.int64] | None = None,
) -> tuple[Columns, Counter[str]]:
    """Packs the documents of a shard into R rows of at most ``config.seq_length`` tokens.

    ``documents``: N of them in the shard's key order, with the columns of ``token_tables.py`` and
    ``occurrence`` int64, which tells identical documents apart (0 for the first in the shard, 1 for
    the second, …). ``sentences`` (positions in the T token ids, see ``find_sentences``) is needed to
    pack ``pairs``.

    Returns the rows, in keyed random order, and the counts. The rows' columns: ``row_id`` uint64,
    all different; ragged ``token_ids`` of the same dtype, with special tokens and without padding;
    ragged ``segment_lengths`` uint16 and ``doc_ids`` uint64, one per run; for ``pairs`` also ragged
    ``segment_ids`` uint8, and ``next_sentence_labels`` uint8; for ``examples`` their ragged
    ``label`` and ``tokens_cut``. The counts: ``documents_out``, ``documents_dropped_*`` and
    ``tokens_*``, without special tokens; ``special_tokens`` ([CLS] and [SEP]); ``segments``, the
    pieces in the rows.
    """
    dropped: Counter[str] = Counter()
    of_rows: Columns = {}  # columns that a packing adds
    if config.packing == "documents":
        pieces = fit_documents(documents, config)
    elif config.packing == "full":
        pieces = cut_stream(documents, config.seq_length)
    elif config.packing == "pairs":
        if sentences is None:
            raise ValueError("packing pairs needs the positions where sentences begin")
        pieces, labels, dropped = pair_sentences(documents, sentences, config)
        of_rows = {"next_sentence_labels": labels}
    else:
        pieces = _lay_texts(documents)
        of_rows = {name: documents[name] for name in ("label", "tokens_cut")}

    if config.packing == "examples":
        row_ids = name_examples(documents["doc_ids"], documents["occurrence"])
    else:
        row_ids = name_rows(documents, pieces)
    order = order_rows(row_ids, config.seed)
    rows = lay_out(documents, pieces.in_row_order(order), row_ids[order], cls_id, sep_id)
    if config.packing == "pairs":
        rows = join_halves(rows)
    return rows | take(of_rows, order), _count(documents, pieces, dropped)


def _lay_texts(documents: Columns) -> Pieces:
    """A row for each labelled document, with a piece for each of its one or two texts."""
    texts = documents["text_lengths"]
    row = np.repeat(np.arange(len(texts)), texts.lengths)
    start = np.cumsum(texts.values) - texts.values - documents["token_ids"].offsets[row]
    return Pieces(document=row, start=start, length=texts.values, row=row)


def _count(documents: Columns, pieces: Pieces, dropped: Counter[str]) -> Counter[str]:
    """Counts what is in the pieces, apart from how they were made, and what was dropped."""
    lengths = documents["token_ids"].lengths
    absent = np.bincount(pieces.document, minlength=len(lengths)) == 0
    repeated = int((~absent & (documents["occurrence"] > 0)).sum())
    dropped["documents_dropped_empty"] = int((absent & (lengths == 0)).sum())
    dropped["documents_dropped_too_short_for_a_pair"] = int((absent & (lengths > 0)).sum())
    counts = Counter(
        documents_out=int((~absent).sum()),
        tokens_out=int(pieces.length.sum()),
        special_tokens=len(pieces) + int(pieces.leads.sum()),
        segments=len(pieces),
    )
    counts.update(+dropped)
    counts.update(+Counter(documents_repeated=repeated))
    return counts
