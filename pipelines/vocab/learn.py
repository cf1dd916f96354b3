"""The WordPiece learner: which pieces of words make the best vocabulary of a given size.

Candidates are what the top-down algorithm of the TensorFlow Text guide "Subword tokenizers" keeps
at a threshold (keep_pieces.py); of these, the pieces stay that shorten the text most
(prune_pieces.py). The size is exact. All of it is sums of exact integers over the tree of word
pieces, so neither the order of the words nor how they were counted can change the result.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import UserError
from pipelines.vocab.keep_pieces import keep_pieces, search_threshold
from pipelines.vocab.piece_tree import PieceTree, build_tree, find_remainders
from pipelines.vocab.prune_pieces import count_uses, prune_pieces
from pipelines.vocab.select_words import SelectedWords, select_words

# Pruning begins with what a threshold keeps that gives three times the pieces asked for. The
# rarest pieces say little about text not seen: they join only where there are too few others.
_CANDIDATES = 3
_FEWEST_CANDIDATES = 2.4
_RAREST_CANDIDATE = 4


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
    can_continue: Callable[[str], bool] = lambda character: True,
    prune: bool = True,
) -> LearnedVocabulary:
    """Learns a vocabulary of exactly ``vocab_size`` tokens from counted words.

    ``words``: distinct words in any order; ``counts`` int64[n]: their occurrences. The tokens
    are the reserved ones as given; all single characters, plain, then continued (these without the
    characters that ``can_continue`` no word); and pieces by count, ties alphabetically.

    With ``prune``, pieces are those that shorten the words most, and count is how often the
    words use them. Without it they are those with the highest counts at the threshold that keeps
    enough where one more would keep too few: the published algorithm, made exact in size. Where
    the words are too few for that, the commonest whole words and then the commonest other pieces
    fill up the list. A plain piece that would read as a continued one is never learned.

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
    continued = [suffix_indicator + character for character in alphabet if can_continue(character)]
    fixed = list(dict.fromkeys([*reserved_tokens, *alphabet, *continued]))
    room = vocab_size - len(fixed)
    if room < 0:
        raise UserError(
            f"vocab_size {vocab_size} is too small for {len(reserved_tokens)} reserved tokens "
            f"and {len(alphabet)} characters, plain and continued: give {len(fixed)} or more, "
            "or lower max_unique_chars"
        )
    remainders = find_remainders(selected)

    def grow(threshold: int) -> _Candidates:
        tree = build_tree(remainders, threshold)
        return _name_candidates(tree, reserved_tokens, suffix_indicator)

    choose = _choose_shortest if prune else _choose_commonest
    threshold, pieces = choose(grow, selected, suffix_indicator, room, num_iterations)
    return LearnedVocabulary(
        tokens=fixed + pieces,
        threshold=threshold,
        alphabet=alphabet,
        alphabet_dropped=selected.alphabet_dropped,
        words_cut=selected.words_cut,
        occurrences_cut=selected.occurrences_cut,
        reason_smaller=(
            f"the words hold only {len(fixed) + len(pieces)} different pieces"
            if len(pieces) < room
            else None
        ),
    )


@dataclass(frozen=True)
class _Candidates:
    """The pieces of a tree, bool[N] each: ``may_keep``, those that a threshold may keep, and
    ``is_new``, those of them that are neither reserved nor single characters."""

    tree: PieceTree
    suffix_indicator: str
    may_keep: NDArray[np.bool_]
    is_new: NDArray[np.bool_]

    def number_new(self, among: NDArray[np.bool_]) -> int:
        """How many of these pieces would be new tokens."""
        return int((among & self.is_new).sum())

    def top(self, among: NDArray[np.bool_], counts: NDArray[np.int64], number: int) -> list[str]:
        """The ``number`` pieces with the highest counts, ties alphabetically, as tokens."""
        pieces = np.flatnonzero(among)
        if number <= 0:
            return []
        if number < len(pieces):
            last = np.partition(counts[pieces], len(pieces) - number)[len(pieces) - number]
            pieces = pieces[counts[pieces] >= last]
        tokens = self.tree.tokens(pieces, self.suffix_indicator)
        ordered = sorted(zip((-counts[pieces]).tolist(), tokens, strict=True))
        return [token for _, token in ordered[:number]]


def _name_candidates(
    tree: PieceTree, reserved_tokens: Sequence[str], suffix_indicator: str
) -> _Candidates:
    """Marks what may become a token of its own."""
    may_keep = ~tree.plain_beginning_with(suffix_indicator)
    is_new = may_keep & (tree.length > 1)
    is_new[tree.find_tokens(reserved_tokens, suffix_indicator)] = False
    return _Candidates(tree, suffix_indicator, may_keep, is_new)


def _choose_commonest(
    grow: Callable[[int], _Candidates],
    words: SelectedWords,
    suffix_indicator: str,
    room: int,
    num_iterations: int,
) -> tuple[int, list[str]]:
    """The pieces that the published algorithm gives the highest counts, and its threshold."""
    found = grow(_sufficient_threshold(words, suffix_indicator, room))
    kept = search_threshold(found.tree, found.may_keep, found.is_new, room, num_iterations)
    pieces = found.top(kept.last & found.is_new, kept.counts, room)
    others = found.is_new & ~kept.last
    return kept.threshold, pieces + found.top(others, found.tree.counts, room - len(pieces))


def _choose_shortest(
    grow: Callable[[int], _Candidates],
    words: SelectedWords,
    suffix_indicator: str,
    room: int,
    num_iterations: int,
) -> tuple[int, list[str]]:
    """The pieces that shorten the words most, by use, and the threshold of the candidates."""
    wanted = _CANDIDATES * room
    found = grow(max(_sufficient_threshold(words, suffix_indicator, wanted), _RAREST_CANDIDATE))
    kept = search_threshold(found.tree, found.may_keep, found.is_new, wanted, num_iterations)
    while found.number_new(kept.ever) < _FEWEST_CANDIDATES * room and kept.threshold > 2:
        found = grow(2) if found.tree.threshold > 2 else found
        kept = keep_pieces(found.tree, found.may_keep, kept.threshold - 1, num_iterations)
    if found.number_new(kept.ever) < room:
        found = grow(1)
        kept = keep_pieces(found.tree, found.may_keep, kept.threshold, num_iterations)
    tree = found.tree
    chosen = prune_pieces(tree, kept.ever & found.is_new, room)
    pieces = found.top(chosen, count_uses(tree, chosen), room)
    whole_words = found.is_new & ~chosen & tree.whole_words()
    pieces += found.top(whole_words, tree.counts, room - len(pieces))
    others = found.is_new & ~chosen & ~whole_words
    return kept.threshold, pieces + found.top(others, tree.counts, room - len(pieces))


def _sufficient_threshold(words: SelectedWords, suffix_indicator: str, number: int) -> int:
    """A threshold that surely keeps ``number`` pieces, from the counts of whole words alone.

    What is taken off a word's count never exceeds the occurrences of longer words, so every word
    that occurs as often as the threshold is kept. 1, sure or not, where there are fewer words.
    """
    counts = words.counts[(words.lengths > 1) & ~words.beginning_with(suffix_indicator)]
    if number == 0 or len(counts) < number:
        return 1
    return int(np.partition(counts, len(counts) - number)[len(counts) - number])
