"""Packing ``full``: one contiguous stream of documents cut into full rows (RoBERTa, section 4.2).

Documents follow one another in the shard's order, each closed by one [SEP]; a row is [CLS], the
next tokens of the stream, and a closing [SEP]. Nothing is lost: the last row is only shorter, and
a row whose document ends one position early stays one token short rather than hold an empty piece.
"""

from __future__ import annotations

import numpy as np

from pipelines.records.ragged import Columns, offsets_of
from pipelines.tokenize.pieces import Pieces


def cut_stream(documents: Columns, seq_length: int) -> Pieces:
    """Cuts the stream of the documents into rows of at most ``seq_length`` tokens.

    With ``seq_length`` 8 and documents abcd, efghi: ``[CLS] a b c d [SEP] e [SEP]`` and
    ``[CLS] f g h i [SEP]``. Where a document ends with its row, the row's closing [SEP] is the
    separator, and the next row starts with the next document.
    """
    lengths = documents["token_ids"].lengths
    filled = np.flatnonzero(lengths > 0)
    lengths = lengths[filled]
    begins = offsets_of(lengths + 1)  # of each document in the stream, separators included
    ends = begins[:-1] + lengths  # where its separator is
    separates = np.zeros(begins[-1] + seq_length, np.uint8)
    separates[ends] = 1

    flags = separates.tobytes()
    row_begins = []
    at, total = 0, int(begins[-1])
    while at < total:
        row_begins.append(at)
        at += seq_length - 2
        at += flags[at]  # the closing [SEP] is also this document's separator

    rows = np.array(row_begins, np.int64)
    cuts = np.union1d(rows, begins[:-1])
    owner = np.searchsorted(begins, cuts, side="right") - 1
    return Pieces(
        document=filled[owner],
        start=cuts - begins[owner],
        length=np.minimum(np.append(cuts[1:], total), ends[owner]) - cuts,
        row=np.searchsorted(rows, cuts, side="right") - 1,
    )
