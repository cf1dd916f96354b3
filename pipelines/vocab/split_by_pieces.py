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


def count_word_stops(tree: PieceTree, is_kept: NDArray[np.bool_]) -> NDArray[np.int64]:
    """How often a word is split just before each remainder by these pieces, int64[R]."""
    remainders, words = tree.remainders, tree.remainders.words
    longest = longest_kept(tree, is_kept)
    stops = np.zeros(len(remainders.counts), np.int64)

    def split(starts: NDArray[Any], leaves: NDArray[np.int32], counts: NDArray[np.int64]) -> None:
        """Counts what is left where the longest kept piece is taken at each of these places."""
        rest = remainders.at_position[starts + tree.length[longest[leaves]]]
        something = np.flatnonzero(rest >= 0)
        np.add.at(stops, rest[something], counts[something])

    split(words.starts, tree.word_leaf, words.counts)
    for begin, end in reversed(list(pairwise(remainders.first.tolist()))[2:]):
        reached = begin + np.flatnonzero(stops[begin:end])
        split(remainders.position[reached], tree.remainder_leaf[reached], stops[reached])
    return stops
