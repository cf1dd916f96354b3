"""How words are split by pieces, longest kept piece first, as the tokenizer will.

A word begins with its longest kept piece, and what is left is a remainder, which begins with a piece in
its turn. Counts flow over the distinct remainders, from long ones to shorter ones, so the work depends
neither on how many words share one nor on how often they occur. ``Splits`` is for pieces that only
become fewer: then only the words and remainders that began with those gone are looked at again, and
everything else is a few sums over all of them. S counts the n words and then the R remainders; K the
kept pieces, in the order of the tree.
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


class Splits:
    """The beginning of every word and remainder, and what is left after it.

    ``pieces`` int[K]: the kept pieces, as ids of the tree, single characters first, which always are;
    ``shorter`` int32[K]: the longest kept proper prefix of each (-1 for single characters); ``taken``
    int32[S]: the piece that is taken first; ``rest`` int[S]: the remainder after it, R where nothing
    is left; ``rest_shorter`` int[S]: the remainder if the next shorter piece were taken instead.
    """

    def __init__(self, tree: PieceTree, is_kept: NDArray[np.bool_]):
        """``is_kept`` bool[N]: pieces that are kept beside the single characters."""
        remainders = tree.remainders
        self._tree = tree
        self._begins = np.concatenate([remainders.words.starts, remainders.position])
        longest = longest_kept(tree, is_kept)
        self.pieces = np.flatnonzero(is_kept | (tree.parent < 0))
        number = np.full(len(longest), -1, np.int32)
        number[self.pieces] = np.arange(len(self.pieces), dtype=np.int32)
        parents = tree.parent[self.pieces]
        self.shorter = np.where(parents >= 0, number[longest[parents]], -1).astype(np.int32)
        leaves = np.concatenate([tree.word_leaf, tree.remainder_leaf])
        self.taken = number[longest[leaves]]
        # A piece that is not there, -1, is the last and leaves everything.
        self._lengths = np.append(tree.length[self.pieces], 0)
        everywhere = np.arange(len(leaves))
        self.rest = self.rest_after(everywhere, self.taken)
        self.rest_shorter = self.rest_after(everywhere, self.shorter[self.taken])

    def rest_after(
        self, where: NDArray[np.signedinteger], pieces: NDArray[np.int32]
    ) -> NDArray[np.signedinteger]:
        """The remainder after these pieces taken at these words and remainders; R for none."""
        remainders = self._tree.remainders
        rest = remainders.at_position[self._begins[where] + self._lengths[pieces]]
        return np.where(rest < 0, len(remainders.counts), rest)

    def drop(self, gone: NDArray[np.bool_]) -> None:
        """Keeps these pieces, bool[K], no longer. None of them is a single character."""
        heir = np.where(gone, self.shorter, np.arange(len(gone), dtype=np.int32))
        while (again := gone[heir]).any():
            heir = np.where(again, self.shorter[heir], heir)
        number = np.cumsum(~gone, dtype=np.int32) - 1
        lost_shorter = gone[self.shorter] & (self.shorter >= 0)
        lost = gone[self.taken]
        shorter = self.shorter[~gone]
        shorter = np.where(shorter >= 0, number[heir[shorter]], -1).astype(np.int32)
        changed = np.flatnonzero(lost | lost_shorter[self.taken])
        self.pieces, self.shorter = self.pieces[~gone], shorter
        self._lengths = np.append(self._lengths[:-1][~gone], 0)
        self.taken = number[heir][self.taken]
        lost_here = np.flatnonzero(lost)
        self.rest[lost_here] = self.rest_after(lost_here, self.taken[lost_here])
        self.rest_shorter[changed] = self.rest_after(changed, shorter[self.taken[changed]])

    def flow(
        self, beginnings: NDArray[np.signedinteger], counts: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """How often words are split just before each remainder, int64[R].

        ``beginnings`` and ``counts``: words begin with a piece that leaves this remainder so often.
        """
        first = self._tree.remainders.first
        rest = self.rest[len(self._tree.word_leaf) :]
        stops = np.zeros(len(rest) + 1, np.int64)
        np.add.at(stops, beginnings, counts)
        for begin, end in reversed(list(pairwise(first.tolist()))[2:]):
            reached = begin + np.flatnonzero(stops[begin:end])
            np.add.at(stops, rest[reached], stops[reached])
        return stops[:-1]

    def count_pieces_left(self) -> NDArray[np.int64]:
        """Into how many pieces each remainder is split, int64[R + 1]; the last is 0, for none left."""
        first = self._tree.remainders.first
        rest = self.rest[len(self._tree.word_leaf) :]
        number = np.zeros(len(rest) + 1, np.int64)
        for begin, end in list(pairwise(first.tolist()))[1:]:
            number[begin:end] = 1 + number[rest[begin:end]]
        return number
