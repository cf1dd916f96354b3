"""Chooses which counted words a vocabulary is learned from, and with which alphabet.

Every cut is a total order (by count, ties by character or word) and every word left out is
counted under a named reason, so the choice is a function of the set of counted words alone: not
of their order. Words leave as one flat array of character ranks, longest word first; nothing
here loops over words in Python.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import UserError


@dataclass(frozen=True)
class SelectedWords:
    """Words to learn from: n words of P characters in all, longest first.

    ``ranks`` uint16 or uint32 [P]: each character's index in ``alphabet``; ``starts`` int64[n]:
    the position of each word's first character; ``lengths`` int64[n] in characters; ``counts``
    int64[n], occurrences. ``alphabet`` is sorted by code point; ``alphabet_dropped`` holds the
    other characters of words that were neither reserved nor too long, commonest first.
    ``words_cut`` and ``occurrences_cut`` say by reason what was left out.
    """

    ranks: NDArray[np.unsignedinteger]
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]
    counts: NDArray[np.int64]
    alphabet: list[str]
    alphabet_dropped: list[str]
    words_cut: dict[str, int]
    occurrences_cut: dict[str, int]

    def beginning_with(self, prefix: str) -> NDArray[np.bool_]:
        """Marks the words longer than ``prefix`` that begin with it, bool[n]."""
        longer = int(np.searchsorted(-self.lengths, -len(prefix), side="left"))
        marked = np.zeros(len(self.lengths), np.bool_)
        if set(prefix) <= set(self.alphabet):
            marked[:longer] = True
            for offset, character in enumerate(prefix):
                rank = bisect_left(self.alphabet, character)
                marked[:longer] &= self.ranks[self.starts[:longer] + offset] == rank
        return marked


def check_counts(words: Sequence[str], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """The counts as int64[n], after checking that they are usable.

    Raises UserError when there are no words, when one is given twice, when a count is not a
    positive whole number, when there is not one count for each word, or when sums of counts could
    leave 64 bits.
    """
    counts = np.asarray(counts)
    if not len(words):
        raise UserError("no words to learn a vocabulary from: the input holds no text")
    if len(set(words)) < len(words):
        word, _ = Counter(words).most_common(1)[0]
        raise UserError(f"word {word!r} is counted more than once: add up its counts")
    if counts.shape != (len(words),):
        raise UserError(f"{len(words)} words but counts of shape {counts.shape}: give one each")
    if counts.dtype.kind not in "iu":
        raise UserError(f"word counts must be 64-bit whole numbers, not {counts.dtype}")
    lowest = int(counts.argmin())
    if counts[lowest] <= 0:
        raise UserError(
            f"word {words[lowest]!r} has the count {counts[lowest]}: counts must be 1 or more"
        )
    longest = max(map(len, words))
    if float(counts.astype(np.float64).sum()) * max(longest, 1) >= 2.0**62:
        raise UserError(
            f"word counts add up to about {float(counts.astype(np.float64).sum()):.3g}, "
            "too many for 64 bits: divide all of them by the same number"
        )
    return counts.astype(np.int64, copy=False)


def select_words(
    words: Sequence[str],
    counts: NDArray[np.int64],
    *,
    reserved_tokens: Sequence[str],
    max_input_tokens: int | None,
    max_token_length: int,
    max_unique_chars: int,
) -> SelectedWords:
    """Leaves out words that are reserved, too long, rarely lettered or beyond the limit.

    The steps and their order are those of tensorflow_text's learner: reserved words and words
    longer than ``max_token_length`` characters go first; of the rest, the ``max_unique_chars``
    commonest characters (ties: lower code point) make the alphabet; words with any other
    character go; the ``max_input_tokens`` commonest words stay (ties: alphabetically first;
    None or -1: no limit). An empty word takes a place under that limit, then goes.
    """
    counts = check_counts(words, counts)
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

    codes = _code_points(words)
    ends = np.cumsum(lengths)
    in_kept = np.repeat(kept, lengths)
    totals = np.zeros(int(codes.max(initial=0)) + 1, np.int64)
    np.add.at(totals, codes[in_kept], np.repeat(counts[kept], lengths[kept]))
    seen = np.flatnonzero(totals)
    by_count = seen[np.argsort(-totals[seen], kind="stable")]
    allowed = np.sort(by_count[: max(max_unique_chars, 0)])
    is_allowed = np.zeros(len(totals), np.bool_)
    is_allowed[allowed] = True

    strange_at = np.flatnonzero(in_kept & ~is_allowed[codes])
    strange = np.zeros(len(words), np.bool_)
    strange[np.searchsorted(ends, strange_at, side="right")] = True
    cut("character_not_in_alphabet", strange)
    kept &= ~strange

    over = kept & ~_commonest(words, counts, kept, max_input_tokens)
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
    )


def nth_highest(counts: NDArray[np.int64], number: int) -> int:
    """The count that ``number`` of these reach, counted from the highest, 1 being the first."""
    return int(np.partition(counts, len(counts) - number)[len(counts) - number])


def _code_points(words: Sequence[str]) -> NDArray[np.uint32]:
    """All characters of all words, one after the other."""
    return np.frombuffer("".join(words).encode("utf-32-le", "surrogatepass"), np.uint32)


def _commonest(
    words: Sequence[str],
    counts: NDArray[np.int64],
    kept: NDArray[np.bool_],
    limit: int | None,
) -> NDArray[np.bool_]:
    """Marks the ``limit`` commonest of the kept words, ties alphabetically."""
    number = int(kept.sum())
    if limit is None or limit == -1 or number <= limit:
        return kept
    chosen = np.zeros(len(words), np.bool_)
    if limit <= 0:
        return chosen
    last = nth_highest(counts[kept], limit)
    chosen |= kept & (counts > last)
    tied = np.flatnonzero(kept & (counts == last))
    first_tied = sorted(tied.tolist(), key=words.__getitem__)[: limit - int(chosen.sum())]
    chosen[first_tied] = True
    return chosen


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
