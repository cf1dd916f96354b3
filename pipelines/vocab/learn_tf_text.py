"""tensorflow_text's WordPiece learner: the same list in the same order, on arrays.

The reference (tensorflow_text.tools.wordpiece_vocab) takes every piece's count off its prefixes,
kept or not. What is left to a piece is then how often it is all that remains of a word, so only
whole words and endings of words are ever candidates, and one pass over the distinct remainders
gives all counts. Only its cut to ``max_input_tokens`` depends on the order of words of equal
counts; here such ties are broken by the word.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.vocab.find_pieces import find_pieces, find_tokens, plain_beginning_with
from pipelines.vocab.learn import LearnedVocabulary
from pipelines.vocab.piece_tree import PieceTree, Remainders, build_tree, find_remainders
from pipelines.vocab.select_words import SelectedWords
from pipelines.vocab.splits import count_word_stops


def learn_tf_text(
    words: SelectedWords,
    *,
    vocab_size: int,
    reserved_tokens: Sequence[str],
    upper_thresh: int | None = 10_000_000,
    lower_thresh: int | None = 10,
    num_iterations: int = 4,
    slack_ratio: float = 0.05,
    joiner: str = "##",
) -> LearnedVocabulary:
    """What ``wordpiece_tokenizer_learner_lib.learn`` of tensorflow_text gives, with its arguments.

    The threshold is bisected between the bounds until at most ``vocab_size`` tokens remain and no
    fewer than ``slack_ratio`` of it less, or the bounds meet; so the list can be shorter, or longer,
    than asked for.
    """
    # The bounds come from all words, also those that are not learned from.
    lower, upper = words.count_range
    upper = upper if upper_thresh is None else min(upper, upper_thresh)
    lower = lower if lower_thresh is None else max(lower, lower_thresh)
    fixed = {*reserved_tokens, *_single_tokens(words.alphabet, joiner)}
    remainders = find_remainders(words)
    # Every word is a token at a threshold of its count or less: that often spares a trial, and
    # with it all the rare pieces that only so low a threshold could keep.
    whole = np.sort(words.piece_counts(joiner))
    lowest = lower
    if 0 <= vocab_size - len(fixed) < len(whole):
        lowest = max(lower, int(whole[-1 - (vocab_size - len(fixed))]) + 1)

    named: _NamedTree | None = None
    slack = max(slack_ratio * vocab_size, 0)
    while True:
        threshold = (upper + lower) // 2
        is_last = lower >= upper or threshold <= 1
        size = len(fixed) + len(whole) - int(np.searchsorted(whole, threshold))
        if is_last or size <= vocab_size:
            if named is None or threshold < named.tree.threshold:
                named = _grow(remainders, min(threshold, lowest), reserved_tokens, joiner)
            is_kept, left = _keep(named, threshold, num_iterations)
            size = len(fixed) + named.count_new(is_kept)
            if is_last or 0 <= vocab_size - size <= slack:
                break
        if size > vocab_size:
            lower = threshold + 1
        else:
            upper = threshold - 1
    tokens = _list_tokens(named, is_kept, left, reserved_tokens, joiner)
    reason = f"the search for a threshold ended at {threshold}, which leaves {size} tokens"
    return LearnedVocabulary(tokens, threshold, words, reason if size < vocab_size else None)


@dataclass(frozen=True)
class _NamedTree:
    """A piece tree, and what reads alike in it.

    ``is_new`` bool[N]: pieces that are neither single characters nor reserved nor read like one
    of these. ``plain_twins`` and ``continued_twins``: pairs of pieces that are the same token,
    because a word begins with the joiner: plain "##a" and continued "a". ``word_counts`` int64[N]:
    how often a piece is a whole word; ``endings``: the remainders that are pieces themselves.
    """

    tree: PieceTree
    is_new: NDArray[np.bool_]
    plain_twins: NDArray[np.int64]
    continued_twins: NDArray[np.int64]
    word_counts: NDArray[np.int64]
    endings: NDArray[np.intp]

    def count_new(self, is_kept: NDArray[np.bool_]) -> int:
        """How many different tokens these pieces add to the fixed ones."""
        kept = is_kept & self.is_new
        both = kept[self.plain_twins] & kept[self.continued_twins]
        return int(kept.sum()) - int(both.sum())


def _single_tokens(alphabet: list[str], joiner: str) -> list[str]:
    """All single characters, and all of them with the joiner if there is one."""
    return alphabet + [joiner + character for character in alphabet if joiner]


def _grow(
    remainders: Remainders, threshold: int, reserved_tokens: Sequence[str], joiner: str
) -> _NamedTree:
    """The tree of pieces down to a threshold, or of all pieces where some read alike."""
    has_twins = bool(remainders.words.beginning_with(joiner).any())
    tree = build_tree(remainders, 1 if has_twins else threshold, joined=not joiner)
    is_new = tree.length > 1
    is_new[find_tokens(tree, reserved_tokens, joiner)] = False
    twins = []
    if has_twins:
        for piece in np.flatnonzero(plain_beginning_with(tree, joiner)).tolist():
            (token,) = tree.tokens(np.array([piece]), joiner)
            twin = int(find_pieces(tree, [token.removeprefix(joiner)], continued=True)[0])
            twins.append((piece, twin))
            is_new[piece] &= bool(is_new[twin])
    pairs = np.array(twins, np.int64).reshape(-1, 2)
    words, ends = remainders.words, tree.remainder_leaf
    whole_words = np.flatnonzero(tree.length[tree.word_leaf] == words.lengths)
    word_counts = np.zeros(len(tree.length), np.int64)
    np.add.at(word_counts, tree.word_leaf[whole_words], words.counts[whole_words])
    endings = np.flatnonzero(tree.length[ends] == remainders.lengths())
    return _NamedTree(tree, is_new, pairs[:, 0], pairs[:, 1], word_counts, endings)


def _keep(
    named: _NamedTree, threshold: int, num_iterations: int
) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Runs all iterations: the pieces kept in the last, bool[N], and their counts, int64[N]."""
    tree = named.tree
    is_kept, counts = np.zeros(len(tree.length), np.bool_), named.word_counts
    stops = tree.remainders.counts
    for iteration in range(num_iterations):
        if iteration:
            in_vocabulary = is_kept | (tree.length == 1)
            alike = in_vocabulary[named.plain_twins] | in_vocabulary[named.continued_twins]
            in_vocabulary[named.plain_twins] = in_vocabulary[named.continued_twins] = alike
            stops = count_word_stops(tree, in_vocabulary)
        counts = named.word_counts.copy()
        np.add.at(counts, tree.remainder_leaf[named.endings], stops[named.endings])
        kept_before, is_kept = is_kept, counts >= threshold
        if iteration and np.array_equal(is_kept, kept_before):
            break  # all later iterations would be the same
    return is_kept, counts


def _list_tokens(
    named: _NamedTree,
    is_kept: NDArray[np.bool_],
    counts: NDArray[np.int64],
    reserved_tokens: Sequence[str],
    joiner: str,
) -> list[str]:
    """Reserved tokens, characters, then all others by count, ties alphabetically."""
    alphabet = named.tree.remainders.words.alphabet
    counted = dict.fromkeys(_single_tokens(alphabet, joiner), 1)
    # Where two pieces read alike the continued one's count stands.
    for continued in (False, True):
        pieces = np.flatnonzero(is_kept & (named.tree.continued == continued))
        tokens = named.tree.tokens(pieces, joiner)
        counted.update(zip(tokens, counts[pieces].tolist(), strict=True))
    ordered = sorted(counted, key=lambda token: (-counted[token], token))
    return list(dict.fromkeys([*reserved_tokens, *alphabet, *ordered]))
