"""Near-duplicates from the bands of their signatures, in tables that nobody holds all of.

Documents of one band key are candidates (Leskovec, Rajaraman, Ullman, "Mining of Massive Datasets",
3.4); those whose signatures say that they are alike are linked. Clusters are the connected components
of links: rounds of large-star and small-star (Kiveris et al. 2014, "Connected Components in MapReduce
and Beyond") tie every document to the smallest of its cluster by ``doc_id``, which stays.

Every function takes the whole of what has one key at hand, and no more than a part of all keys. A
table of links has two columns of ``doc_ids``: ``at``, by which it is cut and grouped, and ``other``.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from pipelines.keyed_random import fold, purpose_key
from pipelines.records.ragged import Columns, begins_run
from pipelines.tokenize.signatures import band_keys, estimate_similarity, pack, sign

# How often large-star and small-star are done in turn.
ROUNDS = 5
# How many documents of one band key the others are compared with, one after the other.
_LEADERS = 8
_PAIRS_AT_ONCE = 1 << 16

Ids = NDArray[np.uint64]


def sign_documents(documents: Columns, similarity: float, bands: int) -> Columns:
    """The table of ``doc_ids``, ``keys`` uint64[n, bands] and ``packed`` signatures of n documents."""
    signatures = sign(documents["token_ids"])
    keys = band_keys(signatures, similarity, bands)
    return {"doc_ids": documents["doc_ids"], "keys": keys, "packed": pack(signatures)}


def part_of(ids: Ids, parts: int) -> NDArray[np.int64]:
    """The part of each key or document, of so many."""
    return (fold(purpose_key(0, "part"), ids) % np.uint64(parts)).astype(np.int64)


def link_alike(entries: Columns, similarity: float) -> Columns:
    """Links between documents with one of these band keys and signatures that alike, both ways.

    ``entries``: ``key``, ``doc_ids`` and ``packed`` of each band of each document. The documents of
    a key are compared with the smallest; those unlike it with the smallest of them, and so on.
    """
    key, doc_ids, packed = entries["key"], entries["doc_ids"], entries["packed"]
    rest = np.lexsort((doc_ids, key))
    rest = rest[begins_run(key[rest], doc_ids[rest])]
    larger, smaller = [np.zeros(0, np.uint64)], [np.zeros(0, np.uint64)]
    for _ in range(_LEADERS):
        first = begins_run(key[rest])
        leader = rest[np.maximum.accumulate(np.where(first, np.arange(len(rest)), 0))][~first]
        rest = rest[~first]
        if not len(rest):
            break
        alike = np.empty(len(rest), bool)
        for at in range(0, len(rest), _PAIRS_AT_ONCE):
            some = slice(at, at + _PAIRS_AT_ONCE)
            estimates = estimate_similarity(packed[leader[some]], packed[rest[some]])
            alike[some] = estimates >= similarity
        larger.append(doc_ids[rest[alike]])
        smaller.append(doc_ids[leader[alike]])
        rest = rest[~alike]
    return _both_ways(*_distinct(np.concatenate(larger), np.concatenate(smaller)))


def large_star(links: Columns) -> Columns:
    """Ties the larger neighbours of each document to the smallest of it and its neighbours.

    ``links`` are those of its documents both ways; those returned stand at their larger document.
    """
    at, other, least = _least(links)
    beyond = other > at
    return _links(*_distinct(other[beyond], least[beyond]))


def small_star(links: Columns) -> Columns:
    """Ties each document and its smaller neighbours to the smallest of these.

    ``links`` stand at their larger document, and so do those returned.
    """
    at, other, least = _least(links)
    larger, smaller = np.append(at, other), np.append(least, least)
    apart = larger != smaller
    return _links(*_distinct(larger[apart], smaller[apart]))


def small_star_both_ways(links: Columns) -> Columns:
    """``small_star`` with links at both of their documents, as ``large_star`` needs them."""
    tied = small_star(links)
    return _both_ways(tied["at"], tied["other"])


def label(links: Columns) -> Columns:
    """One link of each document: to the smallest that it is tied to. The document is dropped."""
    at, _, least = _least(links)
    return _links(*_distinct(at, least))


def with_marks(labels: Columns) -> Columns:
    """The dropped documents at those that stay instead, and at themselves: a mark that they go."""
    at, other = labels["at"], labels["other"]
    return _links(np.append(other, at), np.append(at, at))


def find_clusters(links: Columns) -> tuple[Ids, NDArray[np.int64], int]:
    """The kept documents of clusters, their sizes, and how many more are cut, from ``with_marks``.

    What should stay but goes, because it is tied to yet another, is the middle of a cluster too long
    for the rounds: several of its documents stay.
    """
    at, other = links["at"], links["other"]
    kept, members = np.unique(at[at != other], return_counts=True)
    goes = np.isin(kept, at[at == other])
    return kept[~goes], members[~goes] + 1, int(goes.sum())


def count_clusters(links: Columns) -> Counter[str]:
    """How many clusters there are of which size, from ``with_marks``."""
    _, sizes, cut = find_clusters(links)
    counts = Counter(near_duplicate_clusters_cut=cut)
    most = np.uint64(1) << np.ceil(np.log2(sizes)).astype(np.uint64)
    for size, number in zip(*np.unique(most, return_counts=True), strict=True):
        counts[f"near_duplicate_clusters_up_to_{size}"] = int(number)
    return counts


def _least(links: Columns) -> tuple[Ids, Ids, Ids]:
    """The links sorted by ``at``, and for each the smallest of its ``at`` and the neighbours there."""
    order = np.argsort(links["at"], kind="stable")
    at, other = links["at"][order], links["other"][order]
    if not len(at):
        return at, other, other
    firsts = np.flatnonzero(begins_run(at))
    least = np.minimum(np.minimum.reduceat(other, firsts), at[firsts])
    return at, other, np.repeat(least, np.diff(np.append(firsts, len(at))))


def _distinct(larger: Ids, smaller: Ids) -> tuple[Ids, Ids]:
    order = np.lexsort((smaller, larger))
    larger, smaller = larger[order], smaller[order]
    new = begins_run(larger, smaller)
    return larger[new], smaller[new]


def _links(at: Ids, other: Ids) -> Columns:
    return {"at": at, "other": other}


def _both_ways(left: Ids, right: Ids) -> Columns:
    return _links(np.append(left, right), np.append(right, left))
