"""Finds pieces in a tree by how they read."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipelines.vocab.piece_tree import PieceTree


def find_pieces(
    tree: PieceTree, texts: Sequence[str], *, continued: bool
) -> NDArray[np.signedinteger]:
    """The ids of the pieces with these characters, where the tree has them."""
    alphabet = tree.remainders.words.alphabet
    ranks = {character: rank for rank, character in enumerate(alphabet)}
    spelled = [[ranks.get(character, -1) for character in text] for text in texts]
    within = [word for word in spelled if 0 < len(word) < len(tree.first) - 1 and min(word) >= 0]
    lengths = np.fromiter(map(len, within), np.int64, len(within))
    table = np.zeros((len(within), int(lengths.max(initial=0))), np.int64)
    for row, word in zip(table, within, strict=True):
        row[: len(word)] = word
    found = [np.zeros(0, np.int64)]
    # Pieces of a length stand by parent and last character: their keys ascend.
    parents = np.full(len(within), int(continued))
    for length in range(1, table.shape[1] + 1):
        level = slice(tree.first[length], tree.first[length + 1])
        above = tree.continued[level] if length == 1 else tree.parent[level]
        keys = above.astype(np.int64) * len(alphabet) + tree.rank[level]
        wanted = parents * len(alphabet) + table[:, length - 1]
        places = np.searchsorted(keys, wanted)
        is_there = np.append(keys, -1)[places] == wanted
        pieces, lengths, table = (
            level.start + places[is_there],
            lengths[is_there],
            table[is_there],
        )
        found.append(pieces[lengths == length])
        longer = lengths > length
        parents, lengths, table = pieces[longer], lengths[longer], table[longer]
    return np.concatenate(found)


def find_tokens(
    tree: PieceTree, tokens: Sequence[str], suffix_indicator: str
) -> NDArray[np.signedinteger]:
    """The ids of all pieces that read as one of these vocabulary entries."""
    continued = [
        token.removeprefix(suffix_indicator)
        for token in tokens
        if suffix_indicator and token.startswith(suffix_indicator)
    ]
    return np.concatenate(
        [find_pieces(tree, tokens, continued=False), find_pieces(tree, continued, continued=True)]
    )


def plain_beginning_with(tree: PieceTree, prefix: str) -> NDArray[np.bool_]:
    """Marks the plain pieces longer than ``prefix`` that begin with it, bool[N]."""
    marked = np.zeros(len(tree.parent), np.bool_)
    piece = find_pieces(tree, [prefix], continued=False)
    marked[piece] = True
    for level in reversed(tree.levels_from_longest) if len(piece) else ():
        marked[level] |= marked[tree.parent[level]]
    marked[piece] = False
    return marked
