"""Which pieces of words a count threshold keeps, and the threshold that keeps enough.

The algorithm is the one that the TensorFlow Text guide "Subword tokenizers" describes: count all
pieces, keep, longest first, those with at least a threshold, and take the count of what is kept
off all its prefixes; then again, counting only pieces that begin where the pieces kept so far
split the words. Everything is sums over the piece tree, from the leaves up.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.vocab.piece_tree import PieceTree
from pipelines.vocab.select_words import nth_highest
from pipelines.vocab.splits import count_word_stops


@dataclass(frozen=True)
class KeptPieces:
    """What a threshold keeps. ``last`` bool[N]: in the last iteration; ``ever`` bool[N]: in any;
    ``counts`` int64[N]: what the last iteration left each piece."""

    threshold: int
    last: NDArray[np.bool_]
    ever: NDArray[np.bool_]
    counts: NDArray[np.int64]


@dataclass(frozen=True)
class Candidates:
    """The pieces of a tree, bool[N] each: ``may_keep``, those that a threshold may keep; ``is_given``,
    those that the vocabulary has anyway; ``is_new``, those that may be kept and would be new."""

    tree: PieceTree
    may_keep: NDArray[np.bool_]
    is_given: NDArray[np.bool_]
    is_new: NDArray[np.bool_]
    num_iterations: int

    def count_new(self, among: NDArray[np.bool_]) -> int:
        """How many of these pieces would be new tokens."""
        return int((among & self.is_new).sum())

    def keep(self, threshold: int) -> KeptPieces:
        """Runs all iterations at one threshold, which is not below the tree's own."""
        tree = self.tree
        last, left = self._keep_longest_first(tree.counts, threshold)
        ever = last.copy()
        # Words begin where they begin: only the counts of continued pieces depend on the splits.
        plain_counts = np.where(tree.continued, 0, tree.counts)
        for _ in range(self.num_iterations - 1):
            counts = plain_counts.copy()
            np.add.at(counts, tree.remainder_leaf, count_word_stops(tree, last))
            for level in tree.levels_from_longest:
                continued = np.flatnonzero(tree.continued[level]) + level.start
                np.add.at(counts, tree.parent[continued], counts[continued])
            last, left = self._keep_longest_first(counts, threshold)
            ever |= last
        return KeptPieces(threshold, last, ever, left)

    def search(self, number: int) -> KeptPieces:
        """A threshold that keeps ``number`` new pieces or more where one higher keeps fewer.

        Halves the threshold until it keeps enough, then bisects. Where that never happens, what the
        tree's own threshold keeps.
        """
        counts = self.tree.counts[self.is_new]
        too_high = int(counts.max(initial=0)) + 1
        if 0 < number <= len(counts):
            too_high = nth_highest(counts, number) + 1
        best = self.keep(max(too_high // 2, self.tree.threshold))
        while self.count_new(best.last) < number and best.threshold > self.tree.threshold:
            too_high = best.threshold
            best = self.keep(max(too_high // 2, self.tree.threshold))
        while self.count_new(best.last) >= number and too_high - best.threshold > 1:
            middle = self.keep((best.threshold + too_high) // 2)
            if self.count_new(middle.last) >= number:
                best = middle
            else:
                too_high = middle.threshold
        return best

    def _keep_longest_first(
        self, counts: NDArray[np.int64], threshold: int
    ) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
        """Keeps pieces whose count, less what longer kept ones take away, reaches the threshold.

        A kept piece and the kept ones below it together take its whole count from its prefixes, any
        other piece only what those below it take. Returns bool[N] and the counts left, int64[N].
        """
        tree = self.tree
        taken = np.zeros_like(counts)
        for level in tree.levels_from_longest:
            is_kept = (counts[level] - taken[level] >= threshold) & self.may_keep[level]
            np.add.at(taken, tree.parent[level], np.where(is_kept, counts[level], taken[level]))
        left = counts - taken
        return (left >= threshold) & self.may_keep, left
