"""Chooses which counted words a vocabulary is learned from, and with which alphabet.

Every cut is a total order (by count, ties by character or word) and every word left out is
counted under a named reason, so the choice is a function of the set of counted words alone: not
of their order. Words leave as one flat array of character ranks, longest word first; nothing
here loops over words in Python.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import UserError
from pipelines.text import bert_characters

# An alphabet that follows the text covers this share of its characters …
_COVERED, _OF = 9999, 10000
# … and has at least so many, as tensorflow_text's learner.
FEWEST_CHARACTERS = 1000


@dataclass(frozen=True)
class SelectedWords:
    """Words to learn from: n words of P characters in all, longest first.

    ``ranks`` uint16 or uint32 [P]: each character's index in ``alphabet``; ``starts`` int64[n]:
    the position of each word's first character; ``lengths`` int64[n] in characters; ``counts``
    int64[n], occurrences. ``alphabet`` is sorted by code point; ``alphabet_dropped`` holds the
    other characters of words that were neither reserved nor too long, commonest first.
    ``words_cut`` and ``occurrences_cut`` say by reason what was left out; ``count_range`` is the
    lowest and the highest count of all words, chosen or not.
    """

    ranks: NDArray[np.unsignedinteger]
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]
    counts: NDArray[np.int64]
    alphabet: list[str]
    alphabet_dropped: list[str]
    words_cut: dict[str, int]
    occurrences_cut: dict[str, int]
    count_range: tuple[int, int]

    def beginning_with(self, prefix: str) -> NDArray[np.bool_]:
        """Marks the words longer than ``prefix`` that begin with it, bool[n]; none if it is empty."""
        marked = np.zeros(len(self.lengths), np.bool_)
        if prefix and set(prefix) <= set(self.alphabet):
            longer = int(np.searchsorted(-self.lengths, -len(prefix), side="left"))
            marked[:longer] = True
            for offset, character in enumerate(prefix):
                rank = self.alphabet.index(character)
                marked[:longer] &= self.ranks[self.starts[:longer] + offset] == rank
        return marked

    def piece_counts(self, suffix_indicator: str) -> NDArray[np.int64]:
        """The counts of words that are plain pieces: not one character, nor like a continued one."""
        return self.counts[(self.lengths > 1) & ~self.beginning_with(suffix_indicator)]


def select_words(
    words: Sequence[str],
    counts: NDArray[np.int64],
    *,
    reserved_tokens: Sequence[str],
    max_input_tokens: int | None = 5_000_000,
    max_token_length: int = 50,
    max_unique_chars: int | None = FEWEST_CHARACTERS,
    vocab_size: int = 30522,
) -> SelectedWords:
    """Leaves out words that are reserved, too long, rarely lettered or beyond the limit.

    ``words``: distinct, in any order; ``counts`` int64[n]: their occurrences, 1 or more. The steps
    and their order are those of tensorflow_text's learner: reserved words and words longer than
    ``max_token_length`` characters go first; of the rest, the ``max_unique_chars`` commonest
    characters (ties: lower code point; None: as ``enough_characters`` says, for a vocabulary of
    ``vocab_size``) make the alphabet; words with any other character go; the
    ``max_input_tokens`` commonest words stay (ties: alphabetically first; None or -1: no limit). An
    empty word takes a place under that limit, then goes.

    Raises UserError where there are no words.
    """
    if not len(words):
        raise UserError("no words to learn a vocabulary from: the input holds no text")
    lengths = np.fromiter(map(len, words), np.int64, len(words))
    reserved = np.fromiter(map(set(reserved_tokens).__contains__, words), np.bool_, len(words))
    words_cut: dict[str, int] = {}
    occurrences_cut: dict[str, int] = {}

    def cut(reason: str, gone: NDArray[np.bool_]) -> None:
        words_cut[reason] = int(gone.sum())
        occurrences_cut[reason] = int(counts[gone].sum())

    too_long = (lengths > max_token_length) & ~reserved
    cut("reserved", reserved)
    cut("too_long", too_long)
    kept = ~(reserved | too_long)

    codes = np.frombuffer("".join(words).encode("utf-32-le", "surrogatepass"), np.uint32)
    ends = np.cumsum(lengths)
    in_kept = np.repeat(kept, lengths)
    totals = np.zeros(int(codes.max(initial=0)) + 1, np.int64)
    np.add.at(totals, codes[in_kept], np.repeat(counts[kept], lengths[kept]))
    seen = np.flatnonzero(totals)
    by_count = seen[np.argsort(-totals[seen], kind="stable")]
    if max_unique_chars is None:
        max_unique_chars = enough_characters(by_count, totals[by_count], vocab_size)
    allowed = np.sort(by_count[: max(max_unique_chars, 0)])
    is_allowed = np.zeros(len(totals), np.bool_)
    is_allowed[allowed] = True

    strange_at = np.flatnonzero(in_kept & ~is_allowed[codes])
    strange = np.zeros(len(words), np.bool_)
    strange[np.searchsorted(ends, strange_at, side="right")] = True
    cut("character_not_in_alphabet", strange)
    kept &= ~strange

    over = np.zeros(len(words), np.bool_)
    if max_input_tokens is not None and 0 <= max_input_tokens < kept.sum():
        ranked = sorted(np.flatnonzero(kept).tolist(), key=lambda i: (-counts[i], words[i]))
        over[ranked[max_input_tokens:]] = True
    cut("over_max_input_tokens", over)
    kept &= ~over
    empty = kept & (lengths == 0)
    cut("empty", empty)
    kept &= ~empty

    order = np.flatnonzero(kept)
    order = order[np.argsort(-lengths[order], kind="stable")]
    ranks, starts = _gather_words(codes, ends - lengths, lengths, order, allowed)
    used = np.zeros(len(allowed), np.bool_)
    used[ranks] = True
    # Only characters of words that stayed count as alphabet: the limit on words can lose some.
    rank_of_used = np.cumsum(used) - 1
    alphabet = set(allowed[used].tolist())
    return SelectedWords(
        ranks=rank_of_used.astype(ranks.dtype)[ranks],
        starts=starts,
        lengths=lengths[order],
        counts=counts[order],
        alphabet=[chr(code) for code in allowed[used]],
        alphabet_dropped=[chr(code) for code in by_count if code not in alphabet],
        words_cut=words_cut,
        occurrences_cut=occurrences_cut,
        count_range=(int(counts.min()), int(counts.max())),
    )


def enough_characters(codes: NDArray[np.intp], counts: NDArray[np.int64], vocab_size: int) -> int:
    """How many of the characters, commonest first, make an alphabet that leaves little unknown.

    As many as cover 99.99 % of the text, unless more than ``FEWEST_CHARACTERS`` would take more than
    half of the vocabulary: each takes one entry, or two where it can also continue a word.
    """
    covering = np.searchsorted(np.cumsum(counts) * _OF, counts.sum() * _COVERED) + 1
    entries = np.cumsum(2 - bert_characters.apart()[codes])
    fitting = np.searchsorted(entries, vocab_size // 2, side="right")
    return max(FEWEST_CHARACTERS, int(min(covering, fitting)))


def nth_highest(counts: NDArray[np.int64], number: int) -> int:
    """The count that ``number`` of these reach, counted from the highest, 1 being the first."""
    return int(np.partition(counts, len(counts) - number)[len(counts) - number])


def _gather_words(
    codes: NDArray[np.uint32],
    starts: NDArray[np.int64],
    lengths: NDArray[np.int64],
    order: NDArray[np.intp],
    allowed: NDArray[np.intp],
) -> tuple[NDArray[np.unsignedinteger], NDArray[np.int64]]:
    """Copies the words in this order into one flat array of ranks; also their new starts."""
    rank_type: np.dtype[Any] = np.dtype(np.uint16 if len(allowed) < 1 << 16 else np.uint32)
    rank_of = np.zeros(int(allowed.max(initial=0)) + 1, rank_type)
    rank_of[allowed] = np.arange(len(allowed), dtype=rank_type)
    new_ends = np.cumsum(lengths[order])
    new_starts = new_ends - lengths[order]
    total = int(new_ends[-1]) if len(order) else 0
    source = np.arange(total)
    source += np.repeat(starts[order] - new_starts, lengths[order])
    return rank_of[codes[source]], new_starts
