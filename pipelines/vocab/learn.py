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
from pipelines.vocab.keep_pieces import KeptPieces, keep_pieces, search_threshold
from pipelines.vocab.piece_tree import PieceTree, Remainders, build_tree, find_remainders
from pipelines.vocab.prune_pieces import count_uses, prune_pieces
from pipelines.vocab.select_words import SelectedWords, nth_highest, select_words

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
    reason_smaller: str | None

    @staticmethod
    def of(
        words: SelectedWords, tokens: list[str], threshold: int, reason_smaller: str | None
    ) -> LearnedVocabulary:
        """What was learned from these words."""
        return LearnedVocabulary(
            tokens=tokens,
            threshold=threshold,
            alphabet=words.alphabet,
            alphabet_dropped=words.alphabet_dropped,
            words_cut=words.words_cut,
            occurrences_cut=words.occurrences_cut,
            reason_smaller=reason_smaller,
        )


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
    learner = _Learner(
        find_remainders(selected), reserved_tokens, suffix_indicator, room, num_iterations
    )
    threshold, pieces = learner.choose_shortest() if prune else learner.choose_commonest()
    tokens = fixed + pieces
    reason = f"the words hold only {len(tokens)} different pieces" if len(pieces) < room else None
    return LearnedVocabulary.of(selected, tokens, threshold, reason)


@dataclass(frozen=True)
class _Candidates:
    """The pieces of a tree, bool[N] each: ``may_keep``, those that a threshold may keep, and
    ``is_new``, those of them that are neither reserved nor single characters."""

    tree: PieceTree
    suffix_indicator: str
    may_keep: NDArray[np.bool_]
    is_new: NDArray[np.bool_]

    def count_new(self, among: NDArray[np.bool_]) -> int:
        """How many of these pieces would be new tokens."""
        return int((among & self.is_new).sum())

    def top(self, among: NDArray[np.bool_], counts: NDArray[np.int64], number: int) -> list[str]:
        """The ``number`` pieces with the highest counts, ties alphabetically, as tokens."""
        pieces = np.flatnonzero(among)
        if number <= 0:
            return []
        if number < len(pieces):
            pieces = pieces[counts[pieces] >= nth_highest(counts[pieces], number)]
        tokens = self.tree.tokens(pieces, self.suffix_indicator)
        ordered = sorted(zip((-counts[pieces]).tolist(), tokens, strict=True))
        return [token for _, token in ordered[:number]]


@dataclass(frozen=True)
class _Learner:
    """Chooses ``room`` pieces of words; each way gives a threshold and them in their order."""

    remainders: Remainders
    reserved_tokens: Sequence[str]
    suffix_indicator: str
    room: int
    num_iterations: int

    def choose_commonest(self) -> tuple[int, list[str]]:
        """The pieces that the published algorithm gives the highest counts, and its threshold."""
        candidates = self._grow(self._sufficient_threshold(self.room))
        kept = self._search(candidates, self.room)
        pieces = candidates.top(kept.last & candidates.is_new, kept.counts, self.room)
        others = candidates.is_new & ~kept.last
        pieces += candidates.top(others, candidates.tree.counts, self.room - len(pieces))
        return kept.threshold, pieces

    def choose_shortest(self) -> tuple[int, list[str]]:
        """The pieces that shorten the words most, by use, and the threshold of the candidates."""
        room, wanted = self.room, _CANDIDATES * self.room
        candidates = self._grow(max(self._sufficient_threshold(wanted), _RAREST_CANDIDATE))
        kept = self._search(candidates, wanted)
        while candidates.count_new(kept.ever) < _FEWEST_CANDIDATES * room and kept.threshold > 2:
            candidates = self._grow(2) if candidates.tree.threshold > 2 else candidates
            kept = self._keep(candidates, kept.threshold - 1)
        if candidates.count_new(kept.ever) < room:
            candidates = self._grow(1)
            kept = self._keep(candidates, kept.threshold)
        tree, is_new = candidates.tree, candidates.is_new
        chosen = prune_pieces(tree, kept.ever & is_new, room)
        pieces = candidates.top(chosen, count_uses(tree, chosen), room)
        whole_words = is_new & ~chosen & tree.whole_words()
        pieces += candidates.top(whole_words, tree.counts, room - len(pieces))
        others = is_new & ~chosen & ~whole_words
        pieces += candidates.top(others, tree.counts, room - len(pieces))
        return kept.threshold, pieces

    def _grow(self, threshold: int) -> _Candidates:
        tree = build_tree(self.remainders, threshold)
        may_keep = ~tree.plain_beginning_with(self.suffix_indicator)
        is_new = may_keep & (tree.length > 1)
        is_new[tree.find_tokens(self.reserved_tokens, self.suffix_indicator)] = False
        return _Candidates(tree, self.suffix_indicator, may_keep, is_new)

    def _keep(self, candidates: _Candidates, threshold: int) -> KeptPieces:
        return keep_pieces(candidates.tree, candidates.may_keep, threshold, self.num_iterations)

    def _search(self, candidates: _Candidates, number: int) -> KeptPieces:
        return search_threshold(
            candidates.tree, candidates.may_keep, candidates.is_new, number, self.num_iterations
        )

    def _sufficient_threshold(self, number: int) -> int:
        """A threshold that surely keeps ``number`` pieces, from the counts of whole words alone.

        What is taken off a word's count never exceeds the occurrences of longer words, so every
        word that occurs as often as the threshold is kept. 1, sure or not, where there are fewer
        words.
        """
        words = self.remainders.words
        counts = words.counts[(words.lengths > 1) & ~words.beginning_with(self.suffix_indicator)]
        return 1 if number == 0 or len(counts) < number else nth_highest(counts, number)
