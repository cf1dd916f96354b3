"""Splits all words at once, longest kept piece first, as the tokenizer will.

Counts flow over the distinct remainders of words, from long ones to shorter ones, so the work
depends neither on how many words share a remainder nor on how often they occur.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.vocab.piece_tree import PieceTree


def longest_kept(tree: PieceTree, is_kept: NDArray[np.bool_]) -> NDArray[np.int32]:
    """For each piece its longest prefix (itself included) that is kept, int32[N].

    Single characters count as kept: learners always have all of them.
    """
    longest = np.arange(len(is_kept), dtype=np.int32)
    for level in reversed(tree.levels_from_longest):
        longest[level] = np.where(is_kept[level], longest[level], longest[tree.parent[level]])
    return longest


def rests_after(
    tree: PieceTree, starts: NDArray[np.signedinteger], pieces: NDArray[np.signedinteger]
) -> NDArray[np.signedinteger]:
    """The remainder after each of these pieces taken at each of these positions, -1 for none."""
    return tree.remainders.at_position[starts + tree.length[pieces]]


def count_stops(
    tree: PieceTree,
    longest: NDArray[np.int32],
    starts: NDArray[np.signedinteger],
    pieces: NDArray[np.int32],
    counts: NDArray[np.int64],
) -> NDArray[np.int64]:
    """How often a word is split just before each remainder, int64[R].

    ``starts``, ``pieces`` and ``counts``: at each of these beginnings of words this piece is
    taken first, so often. From there on each remainder loses its ``longest`` kept piece.
    """
    remainders = tree.remainders
    stops = np.zeros(len(remainders.counts), np.int64)
    _add_at(stops, rests_after(tree, starts, pieces), counts)
    for begin, end in reversed(list(pairwise(remainders.first.tolist()))[2:]):
        reached = begin + np.flatnonzero(stops[begin:end])
        taken = longest[tree.remainder_leaf[reached]]
        _add_at(stops, rests_after(tree, remainders.position[reached], taken), stops[reached])
    return stops


def count_word_stops(tree: PieceTree, is_kept: NDArray[np.bool_]) -> NDArray[np.int64]:
    """How often a word is split just before each remainder by these pieces, int64[R]."""
    words = tree.remainders.words
    longest = longest_kept(tree, is_kept)
    return count_stops(tree, longest, words.starts, longest[tree.word_leaf], words.counts)


def _add_at(totals: NDArray[np.int64], ids: NDArray[Any], counts: NDArray[np.int64]) -> None:
    """Adds each count to the total with its id, in place; ids of -1 are nowhere."""
    somewhere = np.flatnonzero(ids >= 0)
    np.add.at(totals, ids[somewhere], counts[somewhere])
