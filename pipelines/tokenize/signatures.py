"""Signatures of documents by which near-duplicates are found: MinHash of their runs of tokens.

Two signatures agree at each of their ``HASHES`` places with a probability of the documents' Jaccard
similarity: the share of the runs of ``SHINGLE`` tokens of either that both have (Broder 1997, "On the
resemblance and containment of documents"). Each run is hashed once to one place, where the smallest
value stays, instead of once for every place; places that no run fell into are tried again with other
hashes (after Dahlgaard, Knudsen and Thorup 2017, "Fast Similarity Sketching"). So the work of a long
document is that of its runs, and a short one's signature is as good.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipelines.keyed_random import fold, purpose_key
from pipelines.records.ragged import Ragged

SHINGLE = 5
HASHES = 128
# How often all runs are thrown at the places before those still empty get a hash of their own.
_ROUNDS = 16
_MULTIPLIER = np.uint64(0xD1342543DE82EF95)
_EMPTY = np.iinfo(np.uint32).max
_LOW, _HALF = np.uint64(0xFFFFFFFF), np.uint64(32)
_PLACES = np.uint64(HASHES)
# Tokens at a time: what is computed for them stays in the processor's cache.
_TOKENS_AT_ONCE = 1 << 16
# Of two packed bytes' exclusive or, how many of the four places differ.
_DIFFERING = np.array([sum(x >> k & 3 > 0 for k in (0, 2, 4, 6)) for x in range(256)], np.uint8)


def sign(tokens: Ragged) -> NDArray[np.uint32]:
    """uint32[n, HASHES], the signature of each document's token ids (each at least one token).

    A document of fewer than ``SHINGLE`` tokens is one run.
    """
    signatures = np.empty((len(tokens), HASHES), np.uint32)
    offsets, first = tokens.offsets, 0
    while first < len(tokens):
        last = int(np.searchsorted(offsets, offsets[first] + _TOKENS_AT_ONCE, "right")) - 1
        last = max(last, first + 1)
        part = tokens.values[offsets[first] : offsets[last]]
        runs = hash_runs(Ragged(part, offsets[first : last + 1] - offsets[first]))
        signatures[first:last] = _least_hashes(runs)
        first = last
    return signatures


def hash_runs(tokens: Ragged, length: int = SHINGLE) -> Ragged:
    """A uint64 for each run of ``length`` tokens of each document; a shorter one is a run. Each has at
    least one token."""
    count, lengths = len(tokens.values), tokens.lengths
    keys = np.append(tokens.values.astype(np.uint64) + np.uint64(1), np.zeros(length, np.uint64))
    short = np.flatnonzero(lengths < length)
    starts = tokens.offsets[short]
    root = purpose_key(0, "near-duplicates")
    runs, short_runs = np.full(count, root), np.full(len(short), root)
    for k in range(length):
        runs *= _MULTIPLIER
        runs += keys[k : k + count]
        short_runs *= _MULTIPLIER
        short_runs += np.where(k < lengths[short], keys[starts + k], np.uint64(0))
    runs[starts] = short_runs
    run_counts = np.maximum(lengths - (length - 1), 1)
    return Ragged(runs, tokens.offsets).take_starts(np.arange(len(tokens)), run_counts)


def _least_hashes(runs: Ragged) -> NDArray[np.uint32]:
    """uint32[n, HASHES] of n documents with at least one run each."""
    signatures = np.full((len(runs), HASHES), _EMPTY, np.uint32)
    open_ = np.arange(len(runs))
    for number in range(_ROUNDS):
        part = runs if len(open_) == len(runs) else runs.take(open_)
        owners = np.repeat(np.arange(len(part)) * HASHES, part.lengths)
        bits = fold(part.values, number)
        places = owners + (((bits >> _HALF) * _PLACES) >> _HALF).astype(np.int64)
        least = np.full(len(part) * HASHES, _EMPTY, np.uint32)
        np.minimum.at(least, places, (bits & _LOW).astype(np.uint32))
        mine = signatures[open_]
        signatures[open_] = np.where(mine == _EMPTY, least.reshape(-1, HASHES), mine)
        open_ = open_[(signatures[open_] == _EMPTY).any(axis=1)]
        if not len(open_):
            return signatures
    documents, places = np.nonzero(signatures == _EMPTY)
    part = runs.take(documents)
    bits = fold(part.values, np.repeat(_ROUNDS + places, part.lengths))
    least = np.minimum.reduceat((bits & _LOW).astype(np.uint32), part.offsets[:-1])
    signatures[documents, places] = least
    return signatures


def band_length(similarity: float, bands: int) -> int:
    """How many places one of ``bands`` bands has: the most with which documents that are ``similarity``
    alike agree in one with a probability of 95 %, and at least 1."""
    lengths = range(1, HASHES // bands + 1)
    enough = [r for r in lengths if 1 - (1 - similarity**r) ** bands >= 0.95]
    return max(enough, default=1)


def band_keys(signatures: NDArray[np.uint32], similarity: float, bands: int) -> NDArray[np.uint64]:
    """uint64[n, bands]: documents with an equal key are candidates."""
    length = band_length(similarity, bands)
    columns = [signatures[:, k : bands * length : length].astype(np.uint64) for k in range(length)]
    return fold(purpose_key(0, "bands"), np.arange(bands)[None, :], *columns)


def pack(signatures: NDArray[np.uint32]) -> NDArray[np.uint8]:
    """uint8[n, HASHES / 4]: two bits of each place, enough to tell how similar documents are (Li and
    König 2010, "b-Bit Minwise Hashing")."""
    bits = (signatures & np.uint32(3)).astype(np.uint8)
    packed = np.zeros((len(bits), HASHES // 4), np.uint8)
    for k in range(4):
        packed |= np.left_shift(bits[:, k::4], np.uint8(2 * k))
    return packed


def estimate_similarity(left: NDArray[np.uint8], right: NDArray[np.uint8]) -> NDArray[np.float64]:
    """float64[n], the similarity of n pairs of packed signatures; the error's deviation is 0.05."""
    differing = _DIFFERING[left ^ right].sum(axis=1, dtype=np.int64) / HASHES
    # Of places that differ, one in four agrees in its two bits by chance.
    return 1 - differing * (4 / 3)
