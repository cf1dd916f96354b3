"""The tree of word pieces that every threshold of a WordPiece learner is evaluated on.

A *remainder* is what is left of a word from some position past its first character; equal
remainders of different words are one. A *piece* is a prefix of a word (plain) or of a remainder
(continued); pieces form a tree whose parent is the piece without its last character. Splitting
words longest piece first only moves counts from remainders to shorter remainders, so a learner
needs no word after this: counts flow by remainder length, sums and cuts by piece length.

Everything here is exact 64-bit integer arithmetic and does not depend on the order of words.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.records.ragged import begins_run
from pipelines.vocab.select_words import SelectedWords


@dataclass(frozen=True)
class Remainders:
    """The R distinct remainders, shorter ones first.

    ``first`` int64[longest + 2]: remainders of k characters have the ids first[k]..first[k+1];
    ``position`` int[R]: one place in ``words.ranks`` where the remainder stands; ``counts``
    int64[R]: occurrences of words that end in it (being longer); ``at_position`` int[P + 1]: the
    remainder that stands at each position, -1 where a word begins and after the last one.
    """

    words: SelectedWords
    first: NDArray[np.int64]
    position: NDArray[np.signedinteger]
    counts: NDArray[np.int64]
    at_position: NDArray[np.signedinteger]

    def lengths(self) -> NDArray[np.int64]:
        """The number of characters of each remainder, int64[R]."""
        return np.repeat(np.arange(len(self.first) - 1), np.diff(self.first))


@dataclass(frozen=True)
class PieceTree:
    """The N pieces that occur at least ``threshold`` times, and all single characters.

    Shorter pieces come first, siblings by character, plain before continued, so that ids are a
    function of the words alone. ``first`` int64[longest + 2]: pieces of k characters have the
    ids first[k]..first[k+1]; ``parent`` int32[N]: the piece without its last character (-1 for
    single characters); ``rank`` int32[N]: its last character; ``length`` int32[N] in characters;
    ``position`` int[N]: one place in ``words.ranks`` where it stands; ``continued`` bool[N];
    ``counts`` int64[N]: occurrences at every position of every word. ``word_leaf`` int32[n],
    ``remainder_leaf`` int32[R]: the longest piece in the tree that begins each of them.
    """

    remainders: Remainders
    threshold: int
    first: NDArray[np.int64]
    parent: NDArray[np.int32]
    rank: NDArray[np.int32]
    length: NDArray[np.int32]
    position: NDArray[np.signedinteger]
    continued: NDArray[np.bool_]
    counts: NDArray[np.int64]
    word_leaf: NDArray[np.int32]
    remainder_leaf: NDArray[np.int32]

    @cached_property
    def levels_from_longest(self) -> list[slice]:
        """The ids of all pieces of the same length, longest first, down to two characters."""
        bounds = self.first.tolist()
        return [slice(*pair) for pair in reversed(list(pairwise(bounds))[2:])]

    @cached_property
    def first_character(self) -> NDArray[np.int32]:
        """The single character that each piece begins with, int32[N]."""
        first = np.arange(len(self.parent), dtype=np.int32)
        for level in reversed(self.levels_from_longest):
            first[level] = first[self.parent[level]]
        return first

    def whole_words(self) -> NDArray[np.bool_]:
        """Marks the pieces that are all of a word, bool[N]."""
        marked = np.zeros(len(self.length), np.bool_)
        lengths = self.remainders.words.lengths
        marked[self.word_leaf[self.length[self.word_leaf] == lengths]] = True
        return marked

    def tokens(self, pieces: NDArray[np.signedinteger], suffix_indicator: str) -> list[str]:
        """These pieces as vocabulary entries: continued ones with the suffix indicator."""
        words = self.remainders.words
        code_points = np.array([ord(character) for character in words.alphabet], np.uint32)
        begins, lengths = self.position[pieces], self.length[pieces]
        return [
            (suffix_indicator if continued else "")
            + code_points[words.ranks[begin : begin + length]]
            .tobytes()
            .decode("utf-32-le", "surrogatepass")
            for begin, length, continued in zip(
                begins.tolist(), lengths.tolist(), self.continued[pieces].tolist(), strict=True
            )
        ]


def _group(keys: NDArray[np.int64]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """An order that sorts the keys, and where in that order each distinct key begins."""
    order = np.argsort(keys)
    return order, np.flatnonzero(begins_run(keys[order]))


def find_remainders(words: SelectedWords) -> Remainders:
    """Gives equal remainders of all words one id, shorter ones first.

    A remainder of k characters is its first character and a remainder of k - 1, so each length
    is one sort of (that remainder, that character) pairs. Source: a trie of reversed words.
    """
    number_of_characters = max(len(words.alphabet), 1)
    ends = words.starts + words.lengths
    longest = int(words.lengths[0]) if len(words.lengths) else 0
    index_type: np.dtype[Any] = np.dtype(np.int32 if len(words.ranks) < 2**31 else np.int64)
    at_position = np.full(len(words.ranks) + 1, -1, index_type)
    first = [0, 0]
    positions = [np.zeros(0, index_type)]
    counts = [np.zeros(0, np.int64)]
    for length in range(1, longest):
        # Words are sorted longest first: those with a remainder of this length are a prefix.
        longer = int(np.searchsorted(-words.lengths, -length, side="left"))
        position = ends[:longer] - length
        keys = words.ranks[position].astype(np.int64)
        if length > 1:
            keys += at_position[position + 1].astype(np.int64) * number_of_characters
        order, starts = _group(keys)
        ids = np.repeat(
            np.arange(first[-1], first[-1] + len(starts), dtype=index_type),
            np.diff(starts, append=len(order)),
        )
        at_position[position[order]] = ids
        positions.append(position[order[starts]].astype(index_type))
        counts.append(np.add.reduceat(words.counts[:longer][order], starts))
        first.append(first[-1] + len(starts))
    return Remainders(
        words=words,
        first=np.array(first, np.int64),
        position=np.concatenate(positions),
        counts=np.concatenate(counts),
        at_position=at_position,
    )


def build_tree(remainders: Remainders, threshold: int, *, joined: bool = False) -> PieceTree:
    """All pieces that occur ``threshold`` times or more, and all single characters.

    With ``joined`` a piece is the same at the beginning of a word and later (learning without a
    suffix indicator), and ``continued`` is False throughout.
    """
    words = remainders.words
    number_of_characters = max(len(words.alphabet), 1)
    number_of_words = len(words.counts)
    # Words first, then remainders: what pieces are prefixes of.
    position = np.concatenate([words.starts.astype(remainders.position.dtype), remainders.position])
    lengths = np.concatenate([words.lengths, remainders.lengths()]).astype(np.int32)
    weights = np.concatenate([words.counts, remainders.counts])
    leaf = np.full(len(position), -1, np.int32)

    first, length = [0, 0], 0
    levels: list[tuple[NDArray, ...]] = []
    active = np.arange(len(position))
    while len(active):
        length += 1
        keys = words.ranks[position[active] + (length - 1)].astype(np.int64)
        if length > 1:
            keys += leaf[active].astype(np.int64) * number_of_characters
        elif not joined:
            keys[number_of_words:] += number_of_characters
        order, starts = _group(keys)
        active = active[order]
        counts = np.add.reduceat(weights[active], starts)
        sizes = np.diff(starts, append=len(active))
        stays = np.ones(len(starts), np.bool_) if length == 1 else counts >= threshold
        heads = active[starts[stays]]
        rank = (keys[order[starts[stays]]] % number_of_characters).astype(np.int32)
        continued = (heads >= number_of_words) & (not joined)
        levels.append((leaf[heads], rank, position[heads], continued, counts[stays]))
        ids = np.arange(first[-1], first[-1] + len(heads), dtype=np.int32)
        first.append(first[-1] + len(heads))
        active = active[np.repeat(stays, sizes)]
        leaf[active] = np.repeat(ids, sizes[stays])
        active = active[lengths[active] > length]

    def column(index: int, kind: Any) -> NDArray[Any]:
        return np.concatenate([np.zeros(0, kind), *(level[index] for level in levels)])

    return PieceTree(
        remainders=remainders,
        threshold=threshold,
        first=np.array(first, np.int64),
        parent=column(0, np.int32),
        rank=column(1, np.int32),
        length=np.repeat(np.arange(len(first) - 1, dtype=np.int32), np.diff(first)),
        position=column(2, position.dtype),
        continued=column(3, np.bool_),
        counts=column(4, np.int64),
        word_leaf=leaf[:number_of_words],
        remainder_leaf=leaf[number_of_words:],
    )
