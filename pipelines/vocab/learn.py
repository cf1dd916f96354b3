"""The WordPiece learner: which pieces of words make the best vocabulary of a given size.

Candidates are what the top-down algorithm of the TensorFlow Text guide "Subword tokenizers" keeps
at a threshold (keep_pieces.py); of these, the pieces stay that shorten the text most
(prune_pieces.py). The size is exact. All of it is sums of exact integers over the tree of word
pieces, so neither the order of the words nor how they were counted can change the result.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import UserError
from pipelines.text.extended_vocabulary import extend_vocabulary
from pipelines.text.vocabulary import Vocabulary
from pipelines.text.words import can_continue
from pipelines.vocab.find_pieces import find_tokens, plain_beginning_with
from pipelines.vocab.keep_pieces import Candidates, KeptPieces
from pipelines.vocab.piece_tree import Remainders, build_tree, find_remainders
from pipelines.vocab.prune_pieces import count_uses, prune_pieces
from pipelines.vocab.select_words import SelectedWords, nth_highest

# Pruning begins with what a threshold keeps that gives three times the pieces asked for. The
# rarest pieces say little about text not seen: they join only where there are too few others.
_CANDIDATES = 3
_FEWEST_CANDIDATES = 2.4
_RAREST_CANDIDATE = 4


@dataclass(frozen=True)
class LearnedVocabulary:
    """A vocabulary and how it came about.

    ``tokens`` in the order of their ids, reserved ones first; ``threshold``: the count that a
    piece needed; ``words``: what was learned from; ``reason_smaller``: why there are fewer tokens
    than asked for, else None.
    """

    tokens: list[str]
    threshold: int
    words: SelectedWords
    reason_smaller: str | None


def learn_wordpiece(
    words: SelectedWords,
    *,
    vocab_size: int,
    reserved_tokens: Sequence[str],
    suffix_indicator: str = "##",
    num_iterations: int = 4,
    prune: bool = True,
) -> LearnedVocabulary:
    """Learns a vocabulary of exactly ``vocab_size`` tokens from counted words.

    The tokens are the reserved ones as given; all single characters, plain, then continued (these
    without punctuation and ideographs, which continue no word); and pieces by count, ties
    alphabetically.

    With ``prune``, pieces are those that shorten the words most, and count is how often the
    words use them. Without it they are those with the highest counts at the threshold that keeps
    enough where one more would keep too few: the published algorithm, made exact in size. Where
    the words are too few for that, the commonest whole words and then the commonest other pieces
    fill up the list. A plain piece that would read as a continued one is never learned.

    Raises UserError: a ``vocab_size`` too small for the reserved tokens and all characters.
    """
    continued = [suffix_indicator + letter for letter in words.alphabet if can_continue(letter)]
    fixed = list(dict.fromkeys([*reserved_tokens, *words.alphabet, *continued]))
    check_room(vocab_size, len(fixed), reserved_tokens, words)
    room = vocab_size - len(fixed)
    remainders = find_remainders(words)
    learner = _Learner(remainders, reserved_tokens, suffix_indicator, room, num_iterations)
    threshold, pieces = learner.choose_shortest() if prune else learner.choose_commonest()
    tokens = fixed + pieces
    reason = f"the words hold only {len(tokens)} different pieces" if len(pieces) < room else None
    return LearnedVocabulary(tokens, threshold, words, reason)


def check_room(
    vocab_size: int, fixed: int, reserved_tokens: Sequence[str], words: SelectedWords
) -> None:
    """Raises UserError where ``fixed`` tokens, reserved and single characters, are too many."""
    if fixed > vocab_size:
        raise UserError(
            f"vocab_size {vocab_size} is too small for {len(reserved_tokens)} reserved tokens "
            f"and {len(words.alphabet)} characters, plain and continued: give {fixed} or more, "
            "or lower max_unique_chars"
        )


def learn_extension(
    words: SelectedWords, old: Vocabulary, number: int, num_iterations: int = 4
) -> LearnedVocabulary:
    """Learns the ``number`` pieces beyond an old vocabulary that shorten the words most.

    A character that the old one lacks is a piece like others: it counts as one saved wherever new
    pieces begin with it, because without it a word cannot be spelled at all. Old pieces that occur
    more rarely than any candidate are left out of account. New pieces are in the order of their use,
    ties alphabetically; where they get their ids, ``extend_vocabulary`` says.
    """
    mark = old.suffix_indicator
    learner = _Learner(find_remainders(words), old.tokens, mark, number, num_iterations, True)
    threshold, pieces = learner.choose_extension() if number else (0, [])
    tokens = list(extend_vocabulary(old, pieces).tokens)
    reason = None
    if len(pieces) < number:
        reason = f"the words hold only {len(pieces)} pieces that {old.source} does not have"
    return LearnedVocabulary(tokens, threshold, words, reason)


@dataclass(frozen=True)
class _Learner:
    """Chooses ``room`` pieces of words; each way gives a threshold and them in their order.

    ``given``: the tokens that are there already; ``extends``: they are a whole vocabulary, so that
    single characters are there only if they are given.
    """

    remainders: Remainders
    given: Sequence[str]
    suffix_indicator: str
    room: int
    num_iterations: int
    extends: bool = False

    def choose_commonest(self) -> tuple[int, list[str]]:
        """The pieces that the published algorithm gives the highest counts, and its threshold."""
        candidates = self._grow(self._sufficient_threshold(self.room))
        kept = candidates.search(self.room)
        pieces = self._top(candidates, kept.last, kept.counts, self.room)
        others = self._top(candidates, ~kept.last, candidates.tree.counts, self.room - len(pieces))
        return kept.threshold, pieces + others

    def choose_shortest(self) -> tuple[int, list[str]]:
        """The pieces that shorten the words most, by use, and the threshold of the candidates."""
        room = self.room
        candidates, kept = self._find_candidates(_CANDIDATES * room)
        if candidates.count_new(kept.ever) < room:
            candidates = self._grow(1)
            kept = candidates.keep(kept.threshold)
        tree = candidates.tree
        chosen = prune_pieces(tree, kept.ever & candidates.is_new, room)
        pieces = self._top(candidates, chosen, count_uses(tree, chosen), room)
        whole_words = tree.whole_words()
        for others in (~chosen & whole_words, ~chosen & ~whole_words):
            pieces += self._top(candidates, others, tree.counts, room - len(pieces))
        return kept.threshold, pieces

    def choose_extension(self) -> tuple[int, list[str]]:
        """As ``choose_shortest``, where the words are split by the given pieces too."""
        candidates, kept = self._find_candidates(_CANDIDATES * self.room)
        if candidates.count_new(kept.ever) < self.room:
            candidates = self._grow(1)
            kept = candidates.keep(1)
        tree, given = candidates.tree, candidates.is_given
        chosen = prune_pieces(tree, kept.ever & candidates.is_new, self.room, given)
        uses = count_uses(tree, chosen | given)
        return kept.threshold, self._top(candidates, chosen, uses, self.room)

    def _find_candidates(self, wanted: int) -> tuple[Candidates, KeptPieces]:
        """What a threshold keeps that gives so many pieces; of a small corpus as much as there is."""
        # As many of the commonest words as there are given tokens may be among these.
        number = wanted + len(self.given) if self.extends else wanted
        candidates = self._grow(max(self._sufficient_threshold(number), _RAREST_CANDIDATE))
        kept = candidates.search(wanted)
        fewest = _FEWEST_CANDIDATES * self.room
        while candidates.count_new(kept.ever) < fewest and kept.threshold > 2:
            candidates = self._grow(2) if candidates.tree.threshold > 2 else candidates
            kept = candidates.keep(kept.threshold - 1)
        return candidates, kept

    def _grow(self, threshold: int) -> Candidates:
        tree = build_tree(self.remainders, threshold)
        may_keep = ~plain_beginning_with(tree, self.suffix_indicator)
        is_given = np.zeros(len(tree.length), np.bool_)
        is_given[find_tokens(tree, self.given, self.suffix_indicator)] = True
        is_new = may_keep & ~is_given & ((tree.length > 1) | self.extends)
        return Candidates(tree, may_keep, is_given, is_new, self.num_iterations)

    def _sufficient_threshold(self, number: int) -> int:
        """A threshold that surely keeps ``number`` pieces, from the counts of whole words alone.

        What is taken off a word's count never exceeds the occurrences of longer words, so every
        word that occurs as often as the threshold is kept. 1, sure or not, where there are fewer
        words.
        """
        counts = self.remainders.words.piece_counts(self.suffix_indicator)
        return 1 if number == 0 or len(counts) < number else nth_highest(counts, number)

    def _top(
        self,
        candidates: Candidates,
        among: NDArray[np.bool_],
        counts: NDArray[np.int64],
        number: int,
    ) -> list[str]:
        """The ``number`` new pieces with the highest counts, ties alphabetically, as tokens."""
        pieces = np.flatnonzero(among & candidates.is_new)
        if number <= 0:
            return []
        if number < len(pieces):
            pieces = pieces[counts[pieces] >= nth_highest(counts[pieces], number)]
        tokens = candidates.tree.tokens(pieces, self.suffix_indicator)
        ordered = sorted(zip((-counts[pieces]).tolist(), tokens, strict=True))
        return [token for _, token in ordered[:number]]
