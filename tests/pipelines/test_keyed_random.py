"""Keyed random numbers: the published mixing function, exact bits everywhere, and no patterns."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines import keyed_random
from pipelines.keyed_random import (
    as_uint64,
    below,
    bernoulli,
    fold,
    fold_scrambled,
    halves,
    mix,
    purpose_key,
    scramble,
    uniform,
)

WORD = (1 << 64) - 1
words = st.integers(0, WORD)


def moremur(x: int) -> int:
    """Evensen's function as published, on Python integers."""
    x ^= x >> 27
    x = x * 0x3C79AC492BA7B653 & WORD
    x ^= x >> 33
    x = x * 0x1C69B3F74AC4AE35 & WORD
    return x ^ x >> 27


def fold_slowly(key: int, *parts: int) -> int:
    for part in parts:
        key = moremur(key ^ moremur((part + 0x9E3779B97F4A7C15) & WORD))
    return key


def bits_of(count: int, purpose: str) -> np.ndarray:
    return fold(purpose_key(1, purpose), np.arange(count))


@given(st.lists(words, min_size=1, max_size=20))
def test_mix_is_the_published_function(numbers):
    before = np.array(numbers, np.uint64)
    assert mix(before).tolist() == [moremur(x) for x in numbers]
    assert before.tolist() == numbers  # the argument stays as it was


def test_mix_keeps_every_shape_and_memory_order():
    for shape in [(), (0,), (1,), (7,), (3, 5), (0, 4), (2, 3, 4)]:
        numbers = np.arange(np.prod(shape, dtype=int), dtype=np.uint64).reshape(shape) + np.uint64(
            9
        )
        mixed = mix(numbers)
        assert mixed.shape == shape
        assert mixed.ravel().tolist() == [moremur(int(x)) for x in numbers.ravel()]
        assert (mix(np.asfortranarray(numbers)) == mixed).all()
    assert (mix(np.arange(20, dtype=np.uint64)[::-2]) == mix(np.arange(19, 0, -2, np.uint64))).all()


def test_blocks_of_work_do_not_show(monkeypatch):
    keys, parts = np.arange(50)[:, None] - 7, np.arange(33)
    whole, mixed = fold(5, keys, parts), mix(np.arange(1000, dtype=np.uint64))
    for chunk in (1, 7, 64, 999, 1000, 1001):
        monkeypatch.setattr(keyed_random, "_CHUNK", chunk)
        assert (fold(5, keys, parts) == whole).all()
        assert (mix(np.arange(1000, dtype=np.uint64)) == mixed).all()


@given(words, st.lists(st.integers(-(1 << 63), WORD), min_size=1, max_size=3))
def test_fold_takes_one_part_after_the_other(key, parts):
    expected = fold_slowly(key, *[part & WORD for part in parts])
    assert int(fold(key, *parts)) == expected
    one_by_one = np.uint64(key)
    for part in parts:
        one_by_one = fold(one_by_one, part)
    assert int(one_by_one) == expected


def test_fold_broadcasts_in_any_memory_order():
    keys = np.arange(12, dtype=np.uint64).reshape(3, 4)
    expected = [
        [fold_slowly(int(k), p) for k, p in zip(row, range(4), strict=True)] for row in keys
    ]
    assert fold(keys, np.arange(4)).tolist() == expected
    assert fold(np.asfortranarray(keys), np.arange(4)).tolist() == expected
    table = np.asfortranarray(np.tile(np.arange(4), (3, 1)))
    assert fold(keys, table).tolist() == expected
    assert fold_scrambled(keys, scramble(np.arange(4))).tolist() == expected
    assert fold(3, 4).shape == ()
    assert fold(np.uint64(3), np.zeros((0, 2), np.int64)).shape == (0, 2)


def test_keys_must_be_integers():
    assert int(as_uint64(-1)) == WORD
    assert as_uint64(np.array([-1], np.int8)).tolist() == [WORD]
    with pytest.raises(TypeError, match="float64"):
        as_uint64([0.5])


def test_bits_never_change():
    # Files written by one version are read by the next: these are part of the format.
    key = purpose_key(3, "x")
    assert int(key) == 0xBEE362E3BE0499F9
    assert fold(key, [1, 2], 7).tolist() == [0xC267374699E867B1, 0xB0EC1FE2FD4B387B]


def test_halves_are_low_then_high():
    bits = np.array([[0x1111111122222222, 0x3333333344444444]], np.uint64)
    assert halves(bits).tolist() == [[0x22222222, 0x11111111, 0x44444444, 0x33333333]]


def test_different_purposes_seeds_and_parts_are_unrelated():
    n = 200_000
    draws = [
        bits_of(n, "one"),
        bits_of(n, "two"),
        fold(purpose_key(2, "one"), np.arange(n)),
        fold(purpose_key(1, "one"), 1, np.arange(n)),
        fold(purpose_key(1, "one"), np.arange(n), 1),
    ]
    for i, a in enumerate(draws):
        for b in draws[:i]:
            different = int(np.unpackbits((a ^ b).view(np.uint8)).sum())
            assert abs(different - 32 * n) < 5 * np.sqrt(16 * n)


def test_each_key_bit_changes_half_of_the_draw():
    keys = bits_of(4000, "avalanche")
    for bit in range(64):
        changed = fold(keys, 0) ^ fold(keys ^ np.uint64(1 << bit), 0)
        per_bit = np.unpackbits(changed.view(np.uint8).reshape(-1, 8), axis=1).mean(axis=0)
        assert np.abs(per_bit - 0.5).max() < 5 * 0.5 / np.sqrt(4000)


@settings(max_examples=20)
@given(st.sampled_from([0.0, 0.1, 0.15, 0.5, 0.8, 1.0]), st.integers(0, 5))
def test_bernoulli_keeps_its_rate(rate, salt):
    n = 100_000
    hits = bernoulli(bits_of(n, f"bernoulli {salt}"), rate).sum()
    assert abs(hits - n * rate) <= 5 * np.sqrt(n * rate * (1 - rate))


def test_uniform_and_below_fill_their_range_evenly():
    bits = bits_of(1_000_000, "range")
    values = uniform(bits)
    assert values.min() >= 0
    assert values.max() < 1
    for counts in (
        np.histogram(values, 100, (0, 1))[0],
        np.bincount(below(bits, 100), minlength=100),
    ):
        assert len(counts) == 100
        chi_square = ((counts - 10_000) ** 2 / 10_000).sum()
        assert abs(chi_square - 99) < 5 * np.sqrt(2 * 99)
    extremes = np.array([0, WORD], np.uint64)
    assert below(extremes, 7).tolist() == [0, 6]
    assert below(extremes, [1, 1 << 31]).tolist() == [0, (1 << 31) - 1]
