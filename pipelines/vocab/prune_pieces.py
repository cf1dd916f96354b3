"""Cuts a pool of candidate pieces down to those that shorten the learning text most.

A piece's gain is how many more pieces the words would be split into without it: wherever it is
taken, the next shorter kept prefix would be taken instead. Those with the lowest gains go, a
quarter of the excess at a time, and gains are counted anew, as a unigram model prunes its
vocabulary (Kudo 2018, section 3.2). One occurrence of every word that is itself a piece counts
as if that piece were missing, as for a word never seen before: a rare word is a weak reason to
learn it whole. All sums are exact integers over the distinct remainders of words.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipelines.vocab.piece_tree import PieceTree
from pipelines.vocab.splits import Splits


def prune_pieces(
    tree: PieceTree,
    pool: NDArray[np.bool_],
    number: int,
    always: NDArray[np.bool_] | None = None,
) -> NDArray[np.bool_]:
    """Keeps ``number`` pieces of the pool: bool[N]; all of it where it has no more.

    ``always`` bool[N]: pieces that are there whatever is kept, and not in the pool; single
    characters that are not in the pool are there too. Of equal gains longer pieces go first, then
    continued ones, then alphabetically later ones.
    """
    chosen = pool.copy()
    always = np.zeros_like(pool) if always is None else always
    splits = Splits(tree, pool | always)
    while (excess := int(chosen.sum()) - number) > 0:
        candidates = np.flatnonzero(chosen[splits.pieces])
        gains = _count_gains(tree, splits, always)[candidates]
        going = min(excess, max(-(-excess // 4), -(-number // 100), 1))
        lowest = candidates[np.lexsort((-candidates, gains))[:going]]
        chosen[splits.pieces[lowest]] = False
        gone = np.zeros(len(splits.pieces), np.bool_)
        gone[lowest] = True
        splits.drop(gone & (splits.shorter >= 0))
    return chosen


def count_uses(tree: PieceTree, is_kept: NDArray[np.bool_]) -> NDArray[np.int64]:
    """How often each piece is taken when all words are split by the kept ones, int64[N]."""
    splits, counts = Splits(tree, is_kept), tree.remainders.words.counts
    stops = splits.flow(splits.rest[: len(counts)], counts)
    uses = np.zeros(len(is_kept), np.int64)
    np.add.at(uses, splits.pieces[splits.taken], np.concatenate([counts, stops]))
    return uses


def _count_gains(tree: PieceTree, splits: Splits, always: NDArray[np.bool_]) -> NDArray[np.int64]:
    """How many pieces each kept piece saves, int64[K]; less than 0 where it does harm.

    A single character saves one wherever a piece that is not among ``always`` begins with it: without
    the piece, and without the character, the word could not be spelled.
    """
    words, number_of_words = tree.remainders.words, len(tree.word_leaf)
    spared = _find_spared(tree, splits, always)
    counts = words.counts.copy()
    counts[spared] -= 1
    ones = np.ones(len(spared), np.int64)
    beginnings = np.concatenate([splits.rest[:number_of_words], splits.rest_shorter[spared]])
    stops = splits.flow(beginnings, np.concatenate([counts, ones]))
    reached = np.flatnonzero(stops)
    starts = np.concatenate([np.arange(number_of_words), number_of_words + reached])
    counts = np.concatenate([counts, stops[reached]])

    gains = np.zeros(len(splits.pieces), np.int64)
    left = splits.count_pieces_left()
    taken, saved = splits.taken[starts], left[splits.rest_shorter[starts]]
    saved -= left[splits.rest[starts]]
    longer = np.flatnonzero(splits.shorter[taken] >= 0)
    np.add.at(gains, taken[longer], counts[longer] * saved[longer])
    # Words without themselves as a piece begin with the next shorter one.
    instead = splits.shorter[splits.taken[spared]]
    still = np.flatnonzero(splits.shorter[instead] >= 0)
    spared, shorter = spared[still], instead[still]
    rest = splits.rest_after(spared, splits.shorter[shorter])
    np.add.at(gains, shorter, left[rest] - left[splits.rest_shorter[spared]])
    if always.any():
        pieces = np.concatenate([taken, instead])
        counts = np.concatenate([counts, ones])
        others = np.flatnonzero(~always[splits.pieces[pieces]])
        first = tree.first_character[splits.pieces[pieces[others]]]
        np.add.at(gains, first, counts[others])
    return gains


def _find_spared(
    tree: PieceTree, splits: Splits, always: NDArray[np.bool_]
) -> NDArray[np.signedinteger]:
    """The words of two characters or more that are a piece, but not one that is always there."""
    taken = splits.taken[: len(tree.word_leaf)]
    nothing_left = splits.rest[: len(taken)] == len(tree.remainders.counts)
    is_longer = splits.shorter[taken] >= 0
    return np.flatnonzero(nothing_left & is_longer & ~always[splits.pieces[taken]])
