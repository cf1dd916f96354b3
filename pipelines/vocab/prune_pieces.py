"""Cuts a pool of candidate pieces down to those that shorten the learning text most.

A piece's gain is how many more pieces the words would be split into without it: wherever it is
taken, the next shorter kept prefix would be taken instead. Those with the lowest gains go, a
quarter of the excess at a time, and gains are counted anew, as a unigram model prunes its
vocabulary (Kudo 2018, section 3.2). One occurrence of every word that is itself a piece counts
as if that piece were missing, as for a word never seen before: a rare word is a weak reason to
learn it whole. All sums are exact integers over the distinct remainders of words.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.vocab.piece_tree import PieceTree
from pipelines.vocab.split_by_pieces import count_stops, longest_kept, rests_after


@dataclass(frozen=True)
class _Split:
    """How all words are split by some kept pieces: k positions where a piece is taken.

    ``starts`` int[k]: the position; ``pieces`` int32[k]: the piece taken there; ``counts`` int64[k]:
    occurrences; ``longest`` and ``shorter`` int32[N]: for each piece its longest kept prefix, and
    its longest kept proper prefix (-1 for none).
    """

    starts: NDArray[np.signedinteger]
    pieces: NDArray[np.int32]
    counts: NDArray[np.int64]
    longest: NDArray[np.int32]
    shorter: NDArray[np.int32]


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
    while (excess := int(chosen.sum()) - number) > 0:
        candidates = np.flatnonzero(chosen)
        gains = _count_gains(tree, chosen | always, always)[candidates]
        going = min(excess, max(-(-excess // 4), -(-number // 100), 1))
        chosen[candidates[np.lexsort((-candidates, gains))[:going]]] = False
    return chosen


def count_uses(tree: PieceTree, is_kept: NDArray[np.bool_]) -> NDArray[np.int64]:
    """How often each piece is taken when all words are split by the kept ones, int64[N]."""
    split = _split(tree, is_kept)
    uses = np.zeros(len(is_kept), np.int64)
    np.add.at(uses, split.pieces, split.counts)
    return uses


def _split(
    tree: PieceTree, is_kept: NDArray[np.bool_], unspared: NDArray[np.bool_] | None = None
) -> _Split:
    """Splits all words; with ``unspared`` bool[N] one occurrence of each word without the word as a
    piece, but for these pieces."""
    remainders, words = tree.remainders, tree.remainders.words
    longest = longest_kept(tree, is_kept)
    shorter = np.where(tree.parent >= 0, longest[tree.parent], -1).astype(np.int32)
    starts, counts = words.starts, words.counts
    pieces = longest[tree.word_leaf]
    if unspared is not None:
        is_word = (tree.length[pieces] == words.lengths) & (words.lengths > 1)
        spared = np.flatnonzero(is_word & ~unspared[pieces])
        starts = np.concatenate([starts, starts[spared]])
        counts = np.concatenate([counts, np.ones(len(spared), np.int64)])
        counts[spared] -= 1
        pieces = np.concatenate([pieces, shorter[pieces[spared]]])
    stops = count_stops(tree, longest, starts, pieces, counts)
    reached = np.flatnonzero(stops)
    return _Split(
        starts=np.concatenate([starts, remainders.position[reached]]),
        pieces=np.concatenate([pieces, longest[tree.remainder_leaf[reached]]]),
        counts=np.concatenate([counts, stops[reached]]),
        longest=longest,
        shorter=shorter,
    )


def _count_gains(
    tree: PieceTree, is_kept: NDArray[np.bool_], always: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """How many pieces each kept piece saves, int64[N]; less than 0 where it does harm.

    A single character saves one wherever a piece that is not among ``always`` begins with it: without
    the piece, and without the character, the word could not be spelled.
    """
    split = _split(tree, is_kept, always)
    pieces_left = _count_pieces_left(tree, split.longest)
    gains = np.zeros(len(is_kept), np.int64)
    instead = split.shorter[split.pieces]
    if always.any():
        others = ~always[split.pieces]
        np.add.at(gains, tree.first_character[split.pieces[others]], split.counts[others])
    longer = np.flatnonzero(instead >= 0)
    starts, pieces = split.starts[longer], split.pieces[longer]
    without = pieces_left[rests_after(tree, starts, instead[longer])]
    saved = without - pieces_left[rests_after(tree, starts, pieces)]
    np.add.at(gains, pieces, split.counts[longer] * saved)
    return gains


def _count_pieces_left(tree: PieceTree, longest: NDArray[np.int32]) -> NDArray[np.int64]:
    """Into how many pieces each remainder is split, int64[R + 1]; the last is 0, for none left."""
    remainders = tree.remainders
    number = np.zeros(len(remainders.counts) + 1, np.int64)
    for length in range(1, len(remainders.first) - 1):
        level = slice(remainders.first[length], remainders.first[length + 1])
        pieces = longest[tree.remainder_leaf[level]]
        number[level] = 1 + number[rests_after(tree, remainders.position[level], pieces)]
    return number
