"""Packing ``pairs``: BERT's two-segment input (Devlin et al. 2018, section 3.1 and appendix A.2).

Consecutive sentences are gathered into chunks that fit a row and cut at a random sentence into A
and B. Then exactly half of the rows exchange their B with one of the same length from another
document (label 1). So every token is used once, where the original draws B as an extra copy and
truncates it: nothing is lost or repeated, both labels have the same Bs and the same lengths, and
a shard's arrays are all the memory it takes. For sentence order (ALBERT) A and B change places.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from pipelines.keyed_random import below, bernoulli
from pipelines.records.ragged import Columns, Ragged, ragged_column
from pipelines.tokenize.config import TokenizeConfig
from pipelines.tokenize.pieces import Documents, Pieces

_MATCHING_ROUNDS = 4


def pair_sentences(
    documents: Documents, sentences: NDArray[np.int64], config: TokenizeConfig
) -> tuple[Pieces, NDArray[np.uint8], Counter[str]]:
    """Makes rows of two pieces, ``[CLS] A [SEP] B [SEP]``, and a label for each.

    ``sentences`` int64[S]: the places among the T token ids where sentences begin. With probability
    ``config.short_seq_prob`` a row is only filled to a random length. A sentence too long for half
    a row counts as several; a document of one sentence is cut in its middle. Label 1 (uint8[R])
    means that B is from another document (``config.pair_task`` "next_sentence") or stands before A
    in the text ("sentence_order"); where a shard has no other document to take B from, fewer than
    half are 1. Returns also the tokens dropped by reason.
    """
    offsets = documents.tokens.offsets
    document_begins = offsets[:-1][documents.tokens.lengths > 0]
    at_begins = np.searchsorted(sentences, document_begins)
    if not np.array_equal(np.append(sentences, -1)[at_begins], document_begins):
        raise ValueError("every document must begin a sentence")
    most = config.seq_length - 3
    document, begin, middle, end = _gather_chunks(documents, sentences, most, config)
    whole = middle > begin
    dropped = Counter(tokens_dropped_too_short_for_a_pair=int((end - begin)[~whole].sum()))
    document, begin, middle, end = (array[whole] for array in (document, begin, middle, end))
    pair_keys = documents.keys(config.seed, "pair label", document, begin - offsets[document])

    # Both halves of every row: columns 0 and 1 are A and B.
    owner = np.stack([document, document], axis=1)
    start = np.stack([begin, middle], axis=1)
    length = np.stack([middle - begin, end - middle], axis=1)
    labels = np.zeros(len(document), np.uint8)
    if config.pair_task == "sentence_order":
        labels[bernoulli(pair_keys, 0.5)] = 1
        for half in (owner, start, length):
            half[labels == 1] = half[labels == 1, ::-1]
    else:
        doc_ids = documents.doc_ids[document]
        one, other = _match_exchanges(doc_ids, length, pair_keys, most)
        labels[one] = labels[other] = 1
        for half in (owner, start, length):
            half[one, 1], half[other, 1] = half[other, 1], half[one, 1]
        dropped["tokens_dropped_truncated"] = _truncate(start, length, most)

    pieces = Pieces(
        document=owner.reshape(-1),
        start=(start - offsets[owner]).reshape(-1),
        length=length.reshape(-1),
        row=np.repeat(np.arange(len(labels)), 2),
    )
    return pieces, labels, dropped


def _gather_chunks(
    documents: Documents, sentences: NDArray[np.int64], most: int, config: TokenizeConfig
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Cuts documents into runs of whole units of at most ``most`` tokens, each run into A and B.

    A unit is a sentence or a part of a long one. Returns int64 arrays: the document and the places
    among the token ids where A begins, B begins and B ends; the first two places are equal where a run
    is a single token.
    """
    seed, offsets, total = config.seed, documents.tokens.offsets, len(documents.tokens.values)
    bounds = np.append(_cut_long(sentences, total, most // 2), total)
    units = bounds[:-1]
    document = np.searchsorted(offsets, units, side="right") - 1
    past = np.searchsorted(bounds, offsets[document + 1])  # the next document's unit

    # Which unit would follow a chunk that begins at this one, for every unit.
    number = np.arange(len(units))
    within = units - offsets[document]
    is_short = bernoulli(
        documents.keys(seed, "short pair", document, within), config.short_seq_prob
    )
    drawn = documents.keys(seed, "short pair length", document[is_short], within[is_short])
    target = np.full(len(units), most)
    target[is_short] = below(drawn, most - 1) + 2
    follow = np.searchsorted(bounds, units + target, side="right") - 1
    follow = np.minimum(np.maximum(follow, number + 2), past)
    leaves_one = (past - follow == 1) & (follow - number >= 3)
    follow -= leaves_one

    steps = follow.tolist()
    chain = []
    unit = 0
    while unit < len(steps):
        chain.append(unit)
        unit = steps[unit]
    first = np.array(chain, np.int64)
    begin, end = units[first], bounds[follow[first]]

    count = follow[first] - first
    keys = documents.keys(seed, "pair cut", document[first], within[first])
    cut = bounds[first + 1 + below(keys, np.maximum(count - 1, 1))]
    middle = np.where(count > 1, cut, begin + (end - begin) // 2)
    return document[first], begin, middle, end


def _cut_long(begins: NDArray[np.int64], total: int, most: int) -> NDArray[np.int64]:
    """Adds places, so that no unit is longer than ``most``; parts of a unit are equally long."""
    lengths = np.diff(begins, append=total)
    parts = -(-lengths // most)
    owner = np.repeat(np.arange(len(begins)), parts)
    part = np.arange(len(owner)) - np.repeat(np.cumsum(parts) - parts, parts)
    return begins[owner] + lengths[owner] * part // parts[owner]


def _match_exchanges(
    doc_ids: NDArray[np.uint64],
    length: NDArray[np.int64],
    keys: NDArray[np.uint64],
    most: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Chooses rows that exchange their B, two by two from different documents: about half of all.

    Neighbours in the order of B's length are matched while both results fit ``most`` tokens (in a
    shard of real size nearly all do); what remains is matched across documents whatever its length.
    """
    waiting = np.argsort(keys, kind="stable")[: (len(keys) // 2 + 1) // 2 * 2]
    waiting = waiting[np.argsort(length[waiting, 1], kind="stable")]
    free = np.ones(len(keys), np.bool_)
    matched = []
    for turn in range(_MATCHING_ROUNDS):
        one = waiting[turn % 2 : len(waiting) - 1 : 2]
        other = waiting[turn % 2 + 1 :: 2]
        fits = doc_ids[one] != doc_ids[other]
        fits &= length[one, 0] + length[other, 1] <= most
        fits &= length[other, 0] + length[one, 1] <= most
        matched.append((one[fits], other[fits]))
        free[one[fits]] = free[other[fits]] = False
        waiting = waiting[free[waiting]]
    # Half a turn apart in the order of documents: the same document only if it owns most of them.
    waiting = waiting[np.argsort(doc_ids[waiting], kind="stable")]
    half = len(waiting) // 2
    one, other = waiting[:half], waiting[len(waiting) - half :]
    differ = doc_ids[one] != doc_ids[other]
    matched.append((one[differ], other[differ]))
    return np.concatenate([m[0] for m in matched]), np.concatenate([m[1] for m in matched])


def _truncate(start: NDArray[np.int64], length: NDArray[np.int64], most: int) -> int:
    """Shortens pairs to ``most`` tokens in place, the longer half first; returns tokens cut.

    A loses its beginning and B its end, so what meets at the [SEP] stays.
    """
    over = np.flatnonzero(length.sum(axis=1) > most)
    a, b = length[over, 0], length[over, 1]
    new_b = np.minimum(b, np.maximum(most // 2, most - a))
    new_a = most - new_b
    start[over, 0] += a - new_a
    length[over, 0], length[over, 1] = new_a, new_b
    return int((a + b).sum() - most * len(over))


def join_halves(columns: Columns) -> Columns:
    """Adds ``segment_ids``: 0 up to the first [SEP], then 1.

    A and B become one run under A's doc_id: they are meant to attend to each other.
    """
    names = ("segment_lengths", "doc_ids", "token_ids")
    halves, doc_ids, tokens = (ragged_column(columns, name) for name in names)
    one_each = np.arange(len(tokens) + 1)
    side = np.tile(np.array([0, 1], np.uint8), len(tokens))
    return columns | {
        "segment_lengths": Ragged(tokens.lengths.astype(np.uint16), one_each),
        "doc_ids": Ragged(doc_ids.values[::2].copy(), one_each),
        "segment_ids": Ragged(np.repeat(side, halves.values), tokens.offsets),
    }
