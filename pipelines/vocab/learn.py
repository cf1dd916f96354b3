"""The WordPiece learner: which pieces of words make the best vocabulary of a given size.

The algorithm is the one that the TensorFlow Text guide "Subword tokenizers" describes: count all
pieces, keep, longest first, those with at least a threshold, and take the count of what is kept
off all its prefixes; then again, counting only pieces that begin where the vocabulary so far
splits the words. Then the size is made exact. All of it is sums of exact integers over the piece
tree, so neither the order of the words nor how they were counted can change the result.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import UserError
from pipelines.vocab.piece_tree import PieceTree, build_tree, find_remainders, split_words
from pipelines.vocab.select_words import SelectedWords, select_words


@dataclass(frozen=True)
class LearnedVocabulary:
    """A vocabulary and how it came about.

    ``tokens`` in the order of their ids, reserved ones first; ``threshold``: the count that a
    piece needed; ``alphabet`` and ``alphabet_dropped``: the characters covered, and those of
    the words that are not; ``words_cut`` and ``occurrences_cut``: what was not learned from, by
    reason; ``reason_smaller``: why there are fewer tokens than asked for, else None.
    """

    tokens: list[str]
    threshold: int
    alphabet: list[str]
    alphabet_dropped: list[str]
    words_cut: dict[str, int]
    occurrences_cut: dict[str, int]
    reason_smaller: str | None = None


@dataclass(frozen=True)
class _Kept:
    """What a threshold keeps in the last iteration: bool[N], and the counts there, int64[N]."""

    threshold: int
    is_kept: NDArray[np.bool_]
    counts: NDArray[np.int64]


def check_reserved_tokens(reserved_tokens: Sequence[str]) -> None:
    """Raises UserError where a reserved token is empty or given twice."""
    for index, token in enumerate(reserved_tokens):
        if not token:
            raise UserError(f"reserved token number {index + 1} is empty: name it or leave it out")
        if token in reserved_tokens[:index]:
            raise UserError(f"reserved token {token!r} is given twice: give each once")


def learn_wordpiece(
    words: Sequence[str],
    counts: NDArray[np.int64],
    *,
    vocab_size: int,
    reserved_tokens: Sequence[str],
    suffix_indicator: str = "##",
    num_iterations: int = 4,
    max_input_tokens: int | None = 5_000_000,
    max_token_length: int = 50,
    max_unique_chars: int = 1000,
) -> LearnedVocabulary:
    """Learns a vocabulary of exactly ``vocab_size`` tokens from counted words.

    ``words``: distinct words in any order; ``counts`` int64[n]: their occurrences. The tokens
    are the reserved ones as given, all single characters, plain and then continued, and the
    pieces with the highest last counts (ties: alphabetically) among those kept at the threshold
    that gives at least ``vocab_size`` tokens where one more would give fewer. Where no
    threshold gives enough (the words are too few), the commonest other pieces fill up the list.
    A plain piece that would read as a continued one is never learned.

    Words that are reserved or longer than ``max_token_length`` characters, that hold a character
    beyond the ``max_unique_chars`` commonest, or that are not among the ``max_input_tokens``
    commonest (None or -1: no limit) are left out, and counted in the result.

    Raises UserError: no words, counts below 1, repeated or empty reserved tokens, no suffix
    indicator, or a ``vocab_size`` too small for the reserved tokens and all characters.
    """
    check_reserved_tokens(reserved_tokens)
    if not suffix_indicator:
        raise UserError("suffix_indicator is empty: name a mark for continued pieces, such as ##")
    if num_iterations < 1:
        raise UserError(f"num_iterations is {num_iterations}: it must be 1 or more")
    selected = select_words(
        words,
        counts,
        reserved_tokens=reserved_tokens,
        max_input_tokens=max_input_tokens,
        max_token_length=max_token_length,
        max_unique_chars=max_unique_chars,
    )
    alphabet = selected.alphabet
    continued = [suffix_indicator + character for character in alphabet]
    fixed = list(dict.fromkeys([*reserved_tokens, *alphabet, *continued]))
    room = vocab_size - len(fixed)
    if room < 0:
        raise UserError(
            f"vocab_size {vocab_size} is too small for {len(reserved_tokens)} reserved tokens "
            f"and {len(alphabet)} characters, plain and continued: give {len(fixed)} or more, "
            "or lower max_unique_chars"
        )

    lowest = _threshold_that_suffices(selected, suffix_indicator, room)
    tree = build_tree(find_remainders(selected), lowest)
    may_keep = ~tree.plain_beginning_with(suffix_indicator)
    is_new = may_keep.copy()
    is_new[: tree.first[min(2, len(tree.first) - 1)]] = False
    is_new[tree.find_tokens(reserved_tokens, suffix_indicator)] = False

    kept = _search_threshold(tree, may_keep, is_new, room, num_iterations)
    learned = _top_tokens(tree, kept.is_kept & is_new, kept.counts, room, suffix_indicator)
    others = is_new & ~kept.is_kept
    learned += _top_tokens(tree, others, tree.counts, room - len(learned), suffix_indicator)
    return LearnedVocabulary(
        tokens=fixed + learned,
        threshold=kept.threshold,
        alphabet=alphabet,
        alphabet_dropped=selected.alphabet_dropped,
        words_cut=selected.words_cut,
        occurrences_cut=selected.occurrences_cut,
        reason_smaller=(
            f"the words hold only {len(fixed) + len(learned)} different pieces"
            if len(learned) < room
            else None
        ),
    )


def _threshold_that_suffices(words: SelectedWords, suffix_indicator: str, room: int) -> int:
    """A threshold that surely keeps ``room`` pieces, from the counts of whole words alone.

    What is taken off a word's count never exceeds the occurrences of longer words, so every word
    that occurs as often as the threshold is kept. 1, sure or not, where there are fewer words.
    """
    is_piece = (words.lengths > 1) & ~words.beginning_with(suffix_indicator)
    counts = words.counts[is_piece]
    if room == 0 or len(counts) < room:
        return 1
    return int(np.partition(counts, len(counts) - room)[len(counts) - room])


def _search_threshold(
    tree: PieceTree,
    may_keep: NDArray[np.bool_],
    is_new: NDArray[np.bool_],
    room: int,
    num_iterations: int,
) -> _Kept:
    """Halves the threshold until it keeps ``room`` new pieces, then bisects to the highest.

    Falls back on the tree's own threshold where none keeps enough.
    """
    counts = tree.counts[is_new]
    too_high = int(counts.max(initial=0)) + 1
    if 0 < room <= len(counts):
        too_high = int(np.partition(counts, len(counts) - room)[len(counts) - room]) + 1

    def keep(threshold: int) -> _Kept:
        return _keep_pieces(tree, may_keep, threshold, num_iterations)

    def suffices(kept: _Kept) -> bool:
        return int((kept.is_kept & is_new).sum()) >= room

    best = keep(max(too_high // 2, tree.threshold))
    while not suffices(best) and best.threshold > tree.threshold:
        too_high = best.threshold
        best = keep(max(too_high // 2, tree.threshold))
    while suffices(best) and too_high - best.threshold > 1:
        middle = keep((best.threshold + too_high) // 2)
        if suffices(middle):
            best = middle
        else:
            too_high = middle.threshold
    return best


def _keep_pieces(
    tree: PieceTree, may_keep: NDArray[np.bool_], threshold: int, num_iterations: int
) -> _Kept:
    """All iterations at one threshold."""
    is_kept, left = _keep_longest_first(tree, may_keep, tree.counts, threshold)
    # Words begin where they begin: only the counts of continued pieces depend on the splits.
    plain_counts = np.where(tree.continued, 0, tree.counts)
    for _ in range(num_iterations - 1):
        stops = split_words(tree, is_kept)
        reached = np.flatnonzero(stops)
        counts = plain_counts.copy()
        np.add.at(counts, tree.remainder_leaf[reached], stops[reached])
        for level in tree.levels_from_longest():
            continued = tree.continued[level]
            np.add.at(counts, tree.parent[level][continued], counts[level][continued])
        is_kept, left = _keep_longest_first(tree, may_keep, counts, threshold)
    return _Kept(threshold, is_kept, left)


def _keep_longest_first(
    tree: PieceTree, may_keep: NDArray[np.bool_], counts: NDArray[np.int64], threshold: int
) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Keeps pieces whose count, less what longer kept ones take away, reaches the threshold.

    A kept piece and all kept ones below it together take its whole ``counts`` from its prefixes,
    any other piece only what those below it take. Returns bool[N] and the counts left, int64[N].
    """
    taken = np.zeros_like(counts)
    is_kept = np.zeros(len(counts), np.bool_)
    for level in tree.levels_from_longest():
        is_kept[level] = (counts[level] - taken[level] >= threshold) & may_keep[level]
        np.add.at(taken, tree.parent[level], np.where(is_kept[level], counts[level], taken[level]))
    return is_kept, counts - taken


def _top_tokens(
    tree: PieceTree,
    among: NDArray[np.bool_],
    counts: NDArray[np.int64],
    number: int,
    suffix_indicator: str,
) -> list[str]:
    """The ``number`` pieces with the highest counts, ties alphabetically, as tokens."""
    pieces = np.flatnonzero(among)
    if 0 < number < len(pieces):
        last = np.partition(counts[pieces], len(pieces) - number)[len(pieces) - number]
        pieces = pieces[counts[pieces] >= last]
    tokens = tree.tokens(pieces, suffix_indicator)
    ordered = sorted(zip((-counts[pieces]).tolist(), tokens, strict=True))
    return [token for _, token in ordered[: max(number, 0)]]
