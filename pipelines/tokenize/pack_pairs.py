"""Packing ``pairs``: BERT's two-segment input (Devlin et al. 2018, section 3.1 and appendix A.2).

Consecutive sentences are gathered into chunks that fit a row and cut at a random sentence into A
and B. Then exactly half of the rows exchange their B with one of the same length from another
document (label 1). So every token is used once, where the original draws B as an extra copy and
truncates it: nothing is lost or repeated, both labels have the same Bs and the same lengths, and
a shard's arrays are all the memory it takes. For sentence order (ALBERT) A and B change places.
"""

from __future__ import annotations

from collections import Counter
from functools import partial

import numpy as np
from numpy.typing import NDArray

from pipelines.keyed_random import below, bernoulli
from pipelines.records.ragged import Columns, Ragged
from pipelines.tokenize.config import TokenizeConfig
from pipelines.tokenize.pieces import Pieces, position_keys

_MATCHING_ROUNDS = 4


def pair_sentences(
    documents: Columns, sentences: NDArray[np.int64], config: TokenizeConfig
) -> tuple[Pieces, NDArray[np.uint8], Counter[str]]:
    """Makes rows of two pieces, ``[CLS] A [SEP] B [SEP]``, a label uint8[R] for each, and counts.

    ``sentences`` int64[S]: the positions among the T token ids where sentences begin. With probability
    ``config.short_seq_prob`` a row is only filled to a random length. A sentence too long for half
    a row counts as several; a document of one sentence is cut in its middle. Label 1 means that B is
    from another document (``config.pair_task`` "next_sentence"; fewer than half where a shard has no
    other document) or stands before A in the text ("sentence_order").
    """
    most = config.seq_length - 3
    offsets = documents["token_ids"].offsets
    chunks = _gather_chunks(documents, sentences, most, config)
    single = chunks[2] == chunks[1]  # tokens that cannot be a pair
    dropped = Counter(tokens_dropped_too_short_for_a_pair=int(single.sum()))
    document, begin, middle, end = chunks[:, ~single]
    keys = position_keys(documents, config.seed, "pair label", document, begin - offsets[document])

    # Of both halves (A and B) of every row: document, start among the tokens, length.
    halves = np.array([[document, document], [begin, middle], [middle - begin, end - middle]])
    owner, start, length = halves.swapaxes(1, 2)
    labels = np.zeros(len(document), np.uint8)
    if config.pair_task == "sentence_order":
        labels[bernoulli(keys, 0.5)] = 1
        halves[:, :, labels == 1] = halves[:, ::-1, labels == 1]
    else:
        one, other = _match_exchanges(documents["doc_ids"][document], length, keys, most)
        labels[one] = labels[other] = 1
        halves[:, 1, one], halves[:, 1, other] = halves[:, 1, other], halves[:, 1, one]
        dropped["tokens_dropped_truncated"] = _truncate(start, length, most)

    pieces = Pieces(
        document=owner.reshape(-1),
        start=(start - offsets[owner]).reshape(-1),
        length=length.reshape(-1),
        row=np.repeat(np.arange(len(labels)), 2),
    )
    return pieces, labels, dropped


def _gather_chunks(
    documents: Columns, sentences: NDArray[np.int64], most: int, config: TokenizeConfig
) -> NDArray[np.int64]:
    """Cuts documents into runs of units (sentences or parts of long ones), each run into A and B.

    Returns int64[4, R]: the document and the positions among the token ids where A begins, B
    begins and B ends; A is empty where a run is a single token.
    """
    keys = partial(position_keys, documents, config.seed)
    offsets, total = documents["token_ids"].offsets, len(documents["token_ids"].values)
    bounds = np.append(_cut_long(sentences, total, most // 2), total)
    units = bounds[:-1]
    document = np.searchsorted(offsets, units, side="right") - 1
    past = np.searchsorted(bounds, offsets[document + 1])  # the next document's unit

    # Which unit would follow a chunk that begins at this one, for every unit.
    number = np.arange(len(units))
    within = units - offsets[document]
    is_short = bernoulli(keys("short pair", document, within), config.short_seq_prob)
    short_length = below(keys("short pair length", document, within), most - 1) + 2
    target = np.where(is_short, short_length, most)
    follow = np.searchsorted(bounds, units + target, side="right") - 1
    follow = np.minimum(np.maximum(follow, number + 2), past)
    leaves_one = (past - follow == 1) & (follow - number >= 3)
    follow -= leaves_one

    steps, chain, unit = follow.tolist(), [], 0
    while unit < len(steps):
        chain.append(unit)
        unit = steps[unit]
    first = np.array(chain, np.int64)
    begin, end = units[first], bounds[follow[first]]

    count = follow[first] - first
    drawn = below(keys("pair cut", document[first], within[first]), np.maximum(count - 1, 1))
    cut = bounds[first + 1 + drawn]
    middle = np.where(count > 1, cut, begin + (end - begin) // 2)
    return np.array([document[first], begin, middle, end])


def _cut_long(begins: NDArray[np.int64], total: int, most: int) -> NDArray[np.int64]:
    """Cuts units that are longer than ``most`` into equal parts, and returns where each begins."""
    lengths = np.diff(begins, append=total)
    parts = -(-lengths // most)
    owner = np.repeat(np.arange(len(begins)), parts)
    number = np.arange(len(owner)) - np.repeat(np.cumsum(parts) - parts, parts)
    return begins[owner] + lengths[owner] * number // parts[owner]


def _match_exchanges(
    doc_ids: NDArray[np.uint64],
    length: NDArray[np.int64],
    keys: NDArray[np.uint64],
    most: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Chooses rows that exchange their B, two by two from different documents: about half of all.

    Neighbours in the order of B's length are matched while both results fit ``most`` tokens (nearly
    all do); what remains is matched across documents whatever its length.
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
    """Shortens pairs to ``most`` tokens in place, the longer half first: A from its beginning and B
    from its end, so that what meets at the [SEP] stays. Returns the number of tokens cut."""
    over = np.flatnonzero(length.sum(axis=1) > most)
    a, b = length[over, 0], length[over, 1]
    new_b = np.minimum(b, np.maximum(most // 2, most - a))
    new_a = most - new_b
    start[over, 0] += a - new_a
    length[over, 0], length[over, 1] = new_a, new_b
    return int((a + b).sum() - most * len(over))


def join_halves(columns: Columns) -> Columns:
    """Adds ``segment_ids``, 0 up to the first [SEP], then 1; A and B become one run under A's doc_id,
    because they are meant to attend to each other."""
    tokens, halves = columns["token_ids"], columns["segment_lengths"]
    one_each = np.arange(len(tokens) + 1)
    side = np.tile(np.array([0, 1], np.uint8), len(tokens))
    return columns | {
        "segment_lengths": Ragged(tokens.lengths.astype(np.uint16), one_each),
        "doc_ids": Ragged(columns["doc_ids"].values[::2].copy(), one_each),
        "segment_ids": Ragged(np.repeat(side, halves.values), tokens.offsets),
    }
