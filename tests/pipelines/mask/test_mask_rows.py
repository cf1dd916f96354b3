"""mask_rows against a second implementation: one row at a time, in plain Python loops."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import asdict, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.errors import UserError
from pipelines.keyed_random import below, bernoulli, fold, purpose_key
from pipelines.mask import mask_rows as mask_rows_module
from pipelines.mask.config import STRATEGIES, MaskConfig
from pipelines.mask.mask_rows import mask_rows

PAD, UNK, CLS, SEP, MASK = SPECIALS = range(5)
VOCABULARY = 60
CONTINUES = np.arange(VOCABULARY) >= 40


def mask(ids, row_id, config, **options):
    options = {
        "vocabulary_size": VOCABULARY,
        "mask_token_id": MASK,
        "unselectable_token_ids": SPECIALS,
        "is_continuation": CONTINUES,
    } | options
    return mask_rows(ids, row_id, config=config, **options)


def mask_one_row(ids, row_id, config, width, document_ids, copy):
    """What ``mask_rows`` does to one row, the simplest way."""
    keys = [
        fold(purpose_key(config.seed, "masking"), row_id, copy, purpose) for purpose in range(4)
    ]

    def draw(purpose, i):
        return int(fold(keys[purpose], i // 2)) >> (32 * (i % 2)) & 0xFFFFFFFF

    selectable = [p for p, token_id in enumerate(ids) if token_id not in SPECIALS]
    budget = math.ceil(np.float32(len(selectable)) * np.float32(config.mask_selection_rate))
    budget = min(budget, width)
    words = []
    for p in selectable:
        follows = words and words[-1][-1] == p - 1 and document_ids[p] == document_ids[p - 1]
        if config.strategy != "token" and CONTINUES[ids[p]] and follows:
            words[-1].append(p)
        else:
            words.append([p])
    units = [[word] for word in words]
    if config.strategy == "span":
        span, tokens_left = -1, 0
        units = []
        for i, word in enumerate(words):
            if tokens_left == 0:
                span += 1
                tokens_left = span_length(draw(1, span))
                fresh = True
            previous = words[i - 1][-1] if i else -2
            if fresh or previous != word[0] - 1 or document_ids[previous] != document_ids[word[0]]:
                units.append([])
            units[-1].append(word)
            tokens_left -= 1
            fresh = False
    leader_of = {}
    for unit in sorted(units, key=lambda unit: (draw(0, unit[0][0]), unit[0][0])):
        for word in unit:
            if len(leader_of) + len(word) > budget:
                break
            for p in word:
                leader_of[p] = unit[0][0] if config.strategy == "span" else p
    masked = list(ids)
    for p, leader in leader_of.items():
        choice = fold(keys[2], leader)
        if bernoulli(choice, config.mask_token_rate):
            masked[p] = MASK
        elif bernoulli(choice, config.mask_token_rate + config.random_token_rate):
            masked[p] = int(below(fold(keys[3], p), VOCABULARY))
    return masked, sorted(leader_of)


def span_length(draw):
    """SpanBERT's truncated geometric distribution, by walking up the cumulative sum."""
    weights = [0.2 * 0.8**i for i in range(10)]
    reached, length = 0.0, 0
    while reached <= draw / 2**32 and length < 10:
        reached += weights[length] / sum(weights)
        length += 1
    return length


@st.composite
def batches(draw):
    length = draw(st.integers(1, 40))
    rows = draw(st.integers(1, 4))
    random = np.random.default_rng(draw(st.integers(0, 1 << 32)))
    # Few or many specials, few or many word pieces.
    kinds = random.choice(
        3,
        (rows, length),
        p=draw(st.sampled_from([(0.05, 0.6, 0.35), (0.4, 0.2, 0.4), (0, 0.1, 0.9), (1, 0, 0)])),
    )
    low, high = np.array([0, 5, 40])[kinds], np.array([5, 40, VOCABULARY])[kinds]
    ids = random.integers(low, high).astype(np.int32)
    document_ids = np.cumsum(
        random.random((rows, length)) < draw(st.sampled_from([0, 0.1])), axis=1
    )
    row_id = random.integers(0, 1 << 63, rows).astype(np.uint64)
    config = MaskConfig(
        mask_selection_rate=draw(st.sampled_from([0.0, 0.15, 0.3, 0.6, 1.0])),
        mask_selection_length=draw(st.sampled_from([None, 1, 3, length])),
        mask_token_rate=draw(st.sampled_from([0.0, 0.4, 0.8, 1.0])),
        random_token_rate=0.0,
        strategy=draw(st.sampled_from(STRATEGIES)),
        seed=draw(st.integers(-5, 1 << 40)),
    )
    rest = 1 - config.mask_token_rate
    config = replace(config, random_token_rate=draw(st.sampled_from([0.0, rest / 2, rest])))
    return ids, row_id, document_ids.astype(np.int32), config, draw(st.integers(0, 3))


@settings(max_examples=300, deadline=None)
@given(batches())
def test_equals_the_plain_implementation(batch):
    ids, row_id, document_ids, config, copy = batch
    outputs, counts = mask(ids, row_id, config, document_ids=document_ids, copy=copy)
    width = config.selection_length(ids.shape[1])
    assert outputs["mask_positions"].shape == (len(ids), width)
    for r in range(len(ids)):
        expected, positions = mask_one_row(
            ids[r].tolist(), int(row_id[r]), config, width, document_ids[r].tolist(), copy
        )
        unused = width - len(positions)
        assert outputs["token_ids"][r].tolist() == expected
        assert outputs["mask_positions"][r].tolist() == positions + [0] * unused
        assert outputs["mask_ids"][r].tolist() == ids[r][positions].tolist() + [0] * unused
        assert outputs["mask_weights"][r].tolist() == [1.0] * len(positions) + [0.0] * unused
    weights = outputs["mask_weights"]
    assert counts["rows"] == len(ids)
    assert counts["rows_without_selection"] == (weights.sum(axis=1) == 0).sum()
    assert counts["tokens_selected"] == weights.sum()
    parts = counts["tokens_masked"] + counts["tokens_randomised"] + counts["tokens_kept"]
    assert parts == counts["tokens_selected"]
    assert counts["tokens_selectable"] == (ids > MASK).sum()


def test_the_masks_of_a_row_never_change():
    # Masks computed in training must equal the ones written to disk, whatever the version.
    ids = np.array([[CLS, 7, 41, 42, 9, 10, 43, 11, 12, SEP, 13, 14, SEP, PAD]], np.int32)
    expected = {
        "token": ([2, 7, 4, 42, 48, 10, 4, 4, 55, 3, 13, 7, 3, 0], [2, 4, 6, 7, 8, 11]),
        "whole_word": ([2, 7, 41, 42, 48, 10, 43, 4, 55, 3, 34, 7, 3, 0], [4, 7, 8, 10, 11]),
        "span": ([2, 7, 41, 42, 48, 25, 12, 4, 4, 3, 34, 14, 3, 0], [4, 5, 6, 7, 8, 10]),
    }
    for strategy, (token_ids, positions) in expected.items():
        config = MaskConfig(0.6, None, 0.4, 0.4, strategy=strategy, seed=11)
        outputs, _ = mask(ids, np.array([77], np.uint64), config, copy=2)
        assert outputs["token_ids"][0].tolist() == token_ids
        used = outputs["mask_weights"][0] > 0
        assert outputs["mask_positions"][0, used].tolist() == positions


def make_rows(rows, length, seed=0):
    random = np.random.default_rng(seed)
    ids = random.integers(5, VOCABULARY, (rows, length)).astype(np.int32)
    ids[:, 0] = CLS
    for row in ids:
        end = random.integers(2, length)
        row[end] = SEP
        row[end + 1 :] = PAD
    row_id = random.integers(0, 1 << 63, rows).astype(np.uint64)
    return ids, row_id


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_row_is_masked_the_same_in_every_batch(strategy, monkeypatch):
    ids, row_id = make_rows(700, 300)
    config = MaskConfig(strategy=strategy, mask_selection_length=50)
    whole, counts = mask(ids, row_id, config, copy=3)
    shuffled = np.random.default_rng(1).permutation(len(ids))
    again, counts_again = mask(ids[shuffled], row_id[shuffled], config, copy=3)
    assert counts == counts_again
    for name, array in whole.items():
        assert (again[name] == array[shuffled]).all()
    alone = [mask(ids[r : r + 1], row_id[r : r + 1], config, copy=3) for r in range(40)]
    halves = [mask(ids[half], row_id[half], config, copy=3) for half in (slice(9), slice(9, None))]
    for name, array in whole.items():
        assert (np.concatenate([outputs[name] for outputs, _ in alone]) == array[:40]).all()
        assert (np.concatenate([outputs[name] for outputs, _ in halves]) == array).all()
    assert halves[0][1] + halves[1][1] == counts
    monkeypatch.setattr(mask_rows_module, "_BLOCK_TOKENS", 1000)
    for name, array in mask(ids, row_id, config, copy=3)[0].items():
        assert (array == whole[name]).all()


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_padding_does_not_show(strategy):
    ids, row_id = make_rows(50, 64)
    config = MaskConfig(strategy=strategy, mask_selection_length=12)
    narrow, counts = mask(ids, row_id, config)
    # A wider row, whose padding is said to be no token rather than marked by its id.
    padding = np.full((50, 37), 9, np.int32)
    present = np.arange(64 + 37) < 64
    wide, wide_counts = mask(
        np.hstack([ids, padding]), row_id, config, padding_mask=np.tile(present, (50, 1))
    )
    assert counts == wide_counts
    assert (wide["token_ids"] == np.hstack([narrow["token_ids"], padding])).all()
    for name in ("mask_positions", "mask_ids", "mask_weights"):
        assert (wide[name] == narrow[name]).all()


def test_each_row_may_have_its_own_copy():
    ids, row_id = make_rows(6, 64)
    config = MaskConfig()
    mixed, _ = mask(ids, row_id, config, copy=np.array([0, 1, 2, 0, 1, 2]))
    for copy in range(3):
        one, _ = mask(ids, row_id, config, copy=copy)
        for name, array in one.items():
            assert (mixed[name][copy::3] == array[copy::3]).all()


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_writing_the_ids_back_restores_the_rows(strategy):
    ids, row_id = make_rows(500, 128)
    before = ids.copy()
    outputs, counts = mask(ids, row_id, MaskConfig(strategy=strategy))
    assert (ids == before).all()  # the argument stays as it was
    assert (outputs["token_ids"] != ids).sum() > 0.8 * counts["tokens_selected"]
    restored = outputs["token_ids"].copy()
    rows, slots = np.nonzero(outputs["mask_weights"])
    restored[rows, outputs["mask_positions"][rows, slots]] = outputs["mask_ids"][rows, slots]
    assert (restored == ids).all()
    chosen = ids[rows, outputs["mask_positions"][rows, slots]]
    assert not np.isin(chosen, SPECIALS).any()
    in_order = np.diff(outputs["mask_positions"], axis=1) > 0
    assert in_order[outputs["mask_weights"][:, 1:] > 0].all()


def test_types_and_widths():
    ids, row_id = make_rows(3, 100)
    for length, width in ((None, 16), (20, 20), (200, 200)):
        outputs, _ = mask(ids, row_id, MaskConfig(mask_selection_length=length))
        assert {name: (a.dtype.name, a.shape) for name, a in outputs.items()} == {
            "token_ids": ("int32", (3, 100)),
            "mask_positions": ("int32", (3, width)),
            "mask_ids": ("int32", (3, width)),
            "mask_weights": ("float32", (3, width)),
        }


def test_the_length_cuts_the_selection_and_is_counted():
    ids = np.full((4, 100), 9, np.int32)
    ids[3, :20] = SEP
    outputs, counts = mask(
        ids, np.arange(4, dtype=np.uint64), MaskConfig(0.5, mask_selection_length=45)
    )
    assert outputs["mask_weights"].sum(axis=1).tolist() == [45, 45, 45, 40]
    assert counts["selections_cut_by_length"] == 15
    assert counts["tokens_selectable"] == 380


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_rows_without_anything_to_choose(strategy):
    ids = np.array([[CLS, SEP, PAD, PAD], [CLS, 9, SEP, PAD], [PAD] * 4], np.int32)
    outputs, counts = mask(ids, np.arange(3, dtype=np.uint64), MaskConfig(strategy=strategy))
    assert outputs["mask_weights"].sum(axis=1).tolist() == [0, 1, 0]
    assert counts["rows_without_selection"] == 2
    nothing, none = mask(ids[:0], np.arange(0, dtype=np.uint64), MaskConfig(strategy=strategy))
    assert nothing["token_ids"].shape == (0, 4)
    assert none == Counter()
    empty, some = mask(ids[:, :0], np.arange(3, dtype=np.uint64), MaskConfig(strategy=strategy))
    assert empty["token_ids"].shape == (3, 0)
    assert some == Counter(rows=3, rows_without_selection=3)


@pytest.mark.parametrize("strategy", ["whole_word", "span"])
def test_a_word_longer_than_the_budget_is_left_alone(strategy):
    ids = np.array([[CLS, 9, 50, 51, 52, SEP]], np.int32)
    outputs, counts = mask(ids, np.zeros(1, np.uint64), MaskConfig(0.5, strategy=strategy))
    assert counts["tokens_selected"] == 0
    assert counts["rows_without_selection"] == 1
    assert (outputs["token_ids"] == ids).all()


def test_single_piece_words_are_chosen_as_tokens_are():
    ids, row_id = make_rows(300, 128)
    nothing = np.zeros(VOCABULARY, bool)
    tokens, _ = mask(ids, row_id, MaskConfig())
    words, _ = mask(ids, row_id, MaskConfig(strategy="whole_word"), is_continuation=nothing)
    for name, array in tokens.items():
        assert (words[name] == array).all()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"mask_selection_rate": 1.5}, "mask_selection_rate is 1.5"),
        ({"mask_selection_rate": float("nan")}, "mask_selection_rate is nan"),
        ({"mask_token_rate": -0.1}, "mask_token_rate is -0.1"),
        ({"random_token_rate": 2}, "random_token_rate is 2"),
        ({"mask_token_rate": 0.8, "random_token_rate": 0.3}, "0.8 .* 0.3 = 1.1"),
        ({"strategy": "words"}, "'words': choose one of token, whole_word, span"),
        ({"mask_selection_length": 0}, "mask_selection_length is 0"),
        ({"mask_selection_length": 129}, "129, but a row has only 128"),
    ],
)
def test_impossible_configs_are_refused_in_one_line(change, says):
    config = MaskConfig(**(asdict(MaskConfig()) | change))
    with pytest.raises(UserError, match=says) as error:
        config.check_masking(vocabulary_size=100, mask_token_id=4, seq_length=128)
    assert "\n" not in str(error.value)


def test_possible_configs_are_accepted():
    for mask_rate, random_rate in ((0.0, 0.0), (1.0, 0.0), (0.9, 0.1), (0.7, 0.3), (0.35, 0.65)):
        config = MaskConfig(0.0, 128, mask_rate, random_rate)
        config.check_masking(vocabulary_size=5, mask_token_id=4, seq_length=128)
    MaskConfig(mask_selection_length=500).check_masking(vocabulary_size=5, mask_token_id=4)


@pytest.mark.parametrize("mask_token_id", [None, -1, 100])
def test_a_vocabulary_without_the_mask_token_is_refused(mask_token_id):
    with pytest.raises(UserError, match=r"\[MASK\]|Mask token id .* 99\]") as error:
        MaskConfig().check_masking(vocabulary_size=100, mask_token_id=mask_token_id)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("foreign", [-1, VOCABULARY])
def test_ids_of_another_vocabulary_are_named(foreign):
    ids, row_id = make_rows(900, 300)  # several blocks
    ids[700, 5] = foreign
    with pytest.raises(
        UserError, match=f"{foreign} at position 5 of row {row_id[700]} .* 60 piece"
    ):
        mask(ids, row_id, MaskConfig())


def test_wrong_arguments_are_refused():
    ids, row_id = make_rows(1, 10)
    with pytest.raises(ValueError, match="is_continuation"):
        mask(ids, row_id, MaskConfig(strategy="span"), is_continuation=None)
    with pytest.raises(ValueError, match="is_continuation"):
        mask(ids, row_id, MaskConfig(strategy="whole_word"), is_continuation=CONTINUES[:9])
    with pytest.raises(UserError, match="unselectable token id 60"):
        mask(ids, row_id, MaskConfig(), unselectable_token_ids=[60])
