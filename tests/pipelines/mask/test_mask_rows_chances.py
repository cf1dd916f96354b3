"""The chances behind mask_rows, on a million tokens: rates, evenness and independence.

All draws are keyed, so each figure here is the same in every run; the bounds are five standard
deviations of what perfectly random masks would give.
"""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.keyed_random import fold, halves, purpose_key
from pipelines.mask.config import MaskConfig
from pipelines.mask.mask_rows import mask_rows
from pipelines.mask.words import LONGEST_SPAN, find_words, join_words, span_lengths

ROWS, LENGTH, VOCABULARY = 4000, 256, 101
MASK = 4
PER_ROW = 39  # ceil(0.15 * 256)
CONTINUES = np.zeros(VOCABULARY, bool)
GEOMETRIC = 0.8 ** np.arange(LONGEST_SPAN) / (0.8 ** np.arange(LONGEST_SPAN)).sum()


def mask(strategy="token", *, row_id=None, copy=0, seed=0, ids=None, continues=CONTINUES, **rates):
    """The masked rows, and bool[ROWS, LENGTH]: which positions were chosen."""
    ids = np.full((ROWS, LENGTH), 50, np.int32) if ids is None else ids
    outputs, counts = mask_rows(
        ids,
        np.arange(len(ids), dtype=np.uint64) if row_id is None else row_id,
        config=MaskConfig(strategy=strategy, seed=seed, **rates),
        vocabulary_size=VOCABULARY,
        mask_token_id=MASK,
        unselectable_token_ids=range(5),
        is_continuation=continues,
        copy=copy,
    )
    chosen = np.zeros(ids.shape, bool)
    rows, slots = np.nonzero(outputs["mask_weights"])
    chosen[rows, outputs["mask_positions"][rows, slots]] = True
    return outputs["token_ids"], chosen, counts


def assert_binomial(hits, trials, chance):
    assert abs(hits - trials * chance) < 5 * np.sqrt(trials * chance * (1 - chance))


def assert_even(counts, expected, freedom):
    chi_square = ((counts - expected) ** 2 / expected).sum()
    assert abs(chi_square - freedom) < 5 * np.sqrt(2 * freedom)


@pytest.mark.parametrize("strategy", ["token", "whole_word"])
def test_rates_of_replacement_are_binomial(strategy):
    _, chosen, counts = mask(strategy)
    assert counts["tokens_selected"] == chosen.sum() == ROWS * PER_ROW
    assert_binomial(counts["tokens_masked"], counts["tokens_selected"], 0.8)
    assert_binomial(counts["tokens_randomised"], counts["tokens_selected"], 0.1)
    assert_binomial(counts["tokens_kept"], counts["tokens_selected"], 0.1)


def test_extreme_rates_are_exact():
    tokens, chosen, _ = mask(mask_token_rate=1.0, random_token_rate=0.0)
    assert (tokens[chosen] == MASK).all()
    tokens, chosen, _ = mask(mask_token_rate=0.0, random_token_rate=0.0)
    assert (tokens == 50).all()
    assert chosen.any()
    _, chosen, counts = mask(mask_token_rate=0.0, random_token_rate=1.0)
    assert counts["tokens_randomised"] == chosen.sum()
    _, chosen, _ = mask(mask_selection_rate=1.0)
    assert chosen.all()
    _, chosen, _ = mask(mask_selection_rate=0.0)
    assert not chosen.any()


def test_every_position_is_equally_likely():
    _, chosen, _ = mask()
    # Positions of one row exclude each other (39 of 256), which shrinks the variance.
    chance = PER_ROW / LENGTH
    variance = ROWS * chance * (1 - chance) * LENGTH / (LENGTH - 1)
    chi_square = ((chosen.sum(axis=0) - ROWS * chance) ** 2).sum() / variance
    assert abs(chi_square - (LENGTH - 1)) < 5 * np.sqrt(2 * (LENGTH - 1))


def test_two_positions_of_a_row_are_chosen_independently():
    _, chosen, _ = mask()
    both = PER_ROW / LENGTH * (PER_ROW - 1) / (LENGTH - 1)
    for distance in (1, 2, 3, 16, 128):
        pairs = chosen[:, distance:] & chosen[:, :-distance]
        assert_binomial(pairs.sum(), pairs.size, both)
    # The two halves of one 64-bit draw.
    pairs = chosen[:, 0::2] & chosen[:, 1::2]
    assert_binomial(pairs.sum(), pairs.size, both)


@pytest.mark.parametrize("strategy", ["token", "span"])
def test_random_tokens_are_even_over_the_whole_vocabulary(strategy):
    tokens, chosen, counts = mask(strategy, mask_token_rate=0.0, random_token_rate=1.0)
    drawn = np.bincount(tokens[chosen], minlength=VOCABULARY)
    assert len(drawn) == VOCABULARY
    assert_even(drawn, counts["tokens_selected"] / VOCABULARY, VOCABULARY - 1)


def test_which_replacement_depends_on_nothing_else():
    tokens, chosen, _ = mask()
    hidden = chosen & (tokens == MASK)
    # Neither on the position, nor on the neighbour's replacement, nor on how early it was chosen.
    for part in (np.s_[:, :64], np.s_[:, 64:], np.s_[:, ::2], np.s_[::2]):
        assert_binomial(hidden[part].sum(), chosen[part].sum(), 0.8 + 0.1 / VOCABULARY)
    pairs = chosen[:, 1:] & chosen[:, :-1]
    both = (hidden[:, 1:] & hidden[:, :-1]).sum()
    assert_binomial(both, pairs.sum(), (0.8 + 0.1 / VOCABULARY) ** 2)


@pytest.mark.parametrize("strategy", ["token", "whole_word"])
@pytest.mark.parametrize(
    "change",
    [
        {"copy": 1},
        {"copy": 2**40},
        {"seed": 1},
        {"seed": -1},
        {"row_id": np.arange(ROWS, dtype=np.uint64) + np.uint64(1)},  # each row's neighbour
        {"row_id": np.arange(ROWS, dtype=np.uint64) << np.uint64(32)},
    ],
    ids=str,
)
def test_copies_seeds_and_rows_are_independent(strategy, change):
    tokens, chosen, _ = mask(strategy)
    other_tokens, other, _ = mask(strategy, **change)
    # Row 0 shifted by 32 bits is row 0 itself.
    unlike = np.arange(ROWS) > 0
    chance = PER_ROW / LENGTH
    both = (chosen & other)[unlike]
    variance = both.size * (chance * (1 - chance)) ** 2 * LENGTH / (LENGTH - 1)
    assert abs(both.sum() - both.size * chance**2) < 5 * np.sqrt(variance)
    hidden, other_hidden = (tokens == MASK)[unlike][both], (other_tokens == MASK)[unlike][both]
    assert_binomial((hidden & other_hidden).sum(), both.sum(), (0.8 + 0.1 / VOCABULARY) ** 2)


def test_words_are_chosen_evenly_over_the_row():
    # Words of one, two and three pieces in turn.
    ids = np.tile(np.array([50, 50, 60, 50, 60, 60], np.int32), (ROWS, 42))
    continues = np.arange(VOCABULARY) == 60
    _, chosen, counts = mask("whole_word", ids=ids, continues=continues)
    # Only the last words taken, which have to fit what is left of 38 positions, favour short ones.
    per_word = chosen[:, ids[0] == 50].reshape(ROWS, 42, 3).mean(axis=(0, 1))
    assert np.abs(per_word / per_word.mean() - 1).max() < 0.07
    starts = chosen[:, 0::6].sum(axis=0)
    assert_even(starts, starts.mean(), 41)
    assert counts["tokens_selected"] == ROWS * np.ceil(0.15 * ids.shape[1])


def test_words_are_never_split():
    random = np.random.default_rng(0)
    ids = random.integers(0, VOCABULARY, (ROWS, LENGTH)).astype(np.int32)
    continues = np.arange(VOCABULARY) >= 70
    word = find_words(ids, ids > 4, continues, None)
    for strategy in ("whole_word", "span"):
        _, chosen, _ = mask(strategy, ids=ids, continues=continues)
        first = np.repeat(chosen.reshape(-1)[word.starts], word.lengths)
        offsets = np.repeat(np.cumsum(word.lengths) - word.lengths, word.lengths)
        pieces = np.repeat(word.starts, word.lengths) + np.arange(len(offsets)) - offsets
        assert (chosen.reshape(-1)[pieces] == first).all()
        assert not chosen[ids <= 4].any()
        assert chosen.sum(axis=1).min() > 25


def test_span_lengths_are_geometric():
    draws = halves(fold(purpose_key(0, "test"), np.arange(500_000)))
    lengths = span_lengths(draws)
    counts = np.bincount(lengths, minlength=LONGEST_SPAN + 1)[1:]
    assert len(counts) == LONGEST_SPAN
    assert_even(counts, len(draws) * GEOMETRIC, LONGEST_SPAN - 1)
    assert lengths.mean() == pytest.approx(3.8, abs=0.02)  # the paper's figure
    assert span_lengths(np.array([0, 2**32 - 1], np.uint32)).tolist() == [1, LONGEST_SPAN]


def test_chosen_spans_have_those_lengths():
    # All of a span is masked or all is kept: so its replacement shows where a span ends, except
    # between two neighbouring ones of the same kind.
    tokens, chosen, _ = mask("span", mask_token_rate=0.5, random_token_rate=0.0)
    label = np.where(chosen, np.where(tokens == MASK, 1, 2), 0)
    runs = np.diff(np.flatnonzero(np.diff(label, axis=1, prepend=-1)), append=label.size)
    kinds = label.reshape(-1)[np.flatnonzero(np.diff(label, axis=1, prepend=-1))]
    runs = runs[kinds > 0]
    observed = np.bincount(runs, minlength=LONGEST_SPAN + 1)[1 : LONGEST_SPAN + 1] / len(runs)
    # One span in ten is cut by the budget, some touch: near the distribution, not equal to it.
    assert np.abs(observed - GEOMETRIC).max() < 0.04
    assert (np.diff(observed[:9]) < 0).all()
    assert runs.mean() == pytest.approx(3.8, abs=0.25)
    assert_binomial((kinds[kinds > 0] == 1).sum(), len(runs), 0.5)


def test_spans_are_chosen_evenly_over_the_row():
    _, chosen, _ = mask("span", ids=np.full((4 * ROWS, LENGTH), 50, np.int32))
    share = chosen.mean(axis=0) / chosen.mean()
    # 5 standard deviations of one position's share; neighbours go together.
    assert np.abs(share - 1).max() < 5 * np.sqrt(0.85 / (PER_ROW / LENGTH) / len(chosen))


def test_spans_stop_at_documents_and_gaps():
    random = np.random.default_rng(1)
    ids = random.choice(np.array([3, 50], np.int32), (200, LENGTH), p=[0.02, 0.98])
    documents = np.cumsum(random.random(ids.shape) < 0.02, axis=1).astype(np.int32)
    words = find_words(ids, ids > 4, CONTINUES, documents)
    lengths = span_lengths(
        halves(fold(purpose_key(0, "test"), np.arange(200)[:, None], range(128)))
    )
    spans = join_words(words, LENGTH, documents, lengths)
    for start, length in zip(spans.starts, spans.lengths, strict=True):
        row, place = divmod(start, LENGTH)
        assert place + length <= LENGTH
        assert len(set(documents[row, place : place + length])) == 1
        assert (ids[row, place : place + length] > 4).all()
    # Together they are all the words, once.
    assert spans.lengths.sum() == words.lengths.sum() == (ids > 4).sum()
