"""The order of rows: exactly once an epoch, uniform, mixed by weight, whatever the hosts."""

from __future__ import annotations

from collections import Counter
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.errors import UserError
from pipelines.keyed_random import fold, purpose_key
from trainer.data.epoch import permute
from trainer.data.mixture import MIXTURE_ROUND, count_shares
from trainer.data.order import RowOrder


def step_rows(step, host=0, hosts=1, **options):
    return RowOrder(**options).rows(step, host, hosts)


def read_steps(count, **arguments):
    order = RowOrder(**arguments)
    parts = [order.rows(step) for step in range(count)]
    return tuple(np.concatenate([part[i] for part in parts]) for i in range(3))


@given(
    rows=st.lists(st.integers(1, 60), min_size=1, max_size=4),
    seed=st.integers(-(2**70), 2**70),
    batch_size=st.integers(1, 50),
)
@settings(deadline=None, max_examples=60)
def test_every_row_once_an_epoch(rows, seed, batch_size):
    total = sum(rows)
    steps = -(-3 * total // batch_size)
    epoch, source, row = read_steps(
        steps, shards=[[count] for count in rows], seed=seed, batch_size=batch_size
    )
    everything = sorted((s, r) for s, n in enumerate(rows) for r in range(n))
    for e in range(3):
        seen = list(zip(source[epoch == e].tolist(), row[epoch == e].tolist(), strict=True))
        assert sorted(seen) == everything
    assert (np.diff(epoch) >= 0).all()


@given(
    rows=st.lists(st.integers(1, 40), min_size=2, max_size=3),
    weights=st.lists(st.floats(0.01, 10), min_size=3, max_size=3),
    seed=st.integers(0, 1000),
)
@settings(deadline=None, max_examples=25)
def test_mixture_gives_every_source_whole_epochs_of_its_own(rows, weights, seed):
    epoch, source, row = read_steps(
        12,
        shards=[[count] for count in rows],
        weights=weights[: len(rows)],
        seed=seed,
        batch_size=32,
    )
    for i, count in enumerate(rows):
        mine = source == i
        assert (np.diff(epoch[mine]) >= 0).all()
        for e in range(int(mine.sum()) // count):
            assert sorted(row[mine & (epoch == e)].tolist()) == list(range(count))


def test_mixture_proportions_hold_in_every_stretch():
    shares = np.array([0.5, 0.3, 0.2])
    _, source, _ = read_steps(
        64, shards=[[10], [1000], [5]], weights=[5, 3, 2], seed=1, batch_size=512
    )
    counts = np.cumsum(source[:, None] == np.arange(3), axis=0)
    expected = np.arange(1, len(source) + 1)[:, None] * shares
    assert np.abs(counts - expected).max() < 3.5
    # … but not in a fixed pattern.
    assert len({source[i : i + 10].tobytes() for i in range(0, 1000, 10)}) > 20


def test_shares_are_exact_and_nobody_is_left_out():
    assert count_shares([3, 1]) == (MIXTURE_ROUND * 3 // 4, MIXTURE_ROUND // 4)
    assert count_shares([1.0, 1e-9]) == (MIXTURE_ROUND - 1, 1)
    assert sum(count_shares([1, 1, 1])) == MIXTURE_ROUND
    with pytest.raises(UserError, match="positive"):
        count_shares([1, 0])


def test_all_permutations_are_equally_likely():
    # 24 permutations of 4 rows over 4,800 keys: chi-square with 23 degrees of freedom.
    seen = Counter(
        tuple(permute(np.arange(4), 4, fold(purpose_key(7, "test"), i)).tolist())
        for i in range(4800)
    )
    statistic = sum((seen[p] - 200) ** 2 / 200 for p in permutations(range(4)))
    assert statistic < 60  # p = 4e-5


@pytest.mark.parametrize("size", [5, 37, 64, 1000])
def test_every_row_is_equally_likely_at_every_place(size):
    keys = 2000
    places = np.arange(min(size, 8))
    hits = np.zeros((len(places), size))
    for i in range(keys):
        hits[places, permute(places, size, fold(purpose_key(3, "test"), i))] += 1
    expected = keys / size
    statistic = ((hits - expected) ** 2 / expected).sum(axis=1)
    assert (statistic < (size - 1) + 6 * np.sqrt(2 * size)).all()


def test_neighbours_do_not_stay_neighbours():
    order = permute(np.arange(100_000), 100_000, fold(purpose_key(0, "test"), 1))
    assert np.bincount(order, minlength=100_000).max() == 1
    steps = np.diff(order)
    assert abs(np.corrcoef(order[:-1], order[1:])[0, 1]) < 0.02
    assert np.mean(np.abs(steps) < 100) < 0.01


@given(hosts=st.sampled_from([1, 2, 3, 4, 6, 12]), k=st.integers(0, 10**9))
@settings(deadline=None, max_examples=30)
@pytest.mark.parametrize("weights", [None, [2.0, 1.0]])
def test_hosts_share_the_same_step(weights, hosts, k):
    arguments = {
        "shards": [[1000], [17]],
        "weights": weights,
        "seed": 5,
        "batch_size": 12,
    }
    whole = step_rows(k, **arguments)
    parts = [step_rows(k, **arguments, host=h, hosts=hosts) for h in range(hosts)]
    for i in range(3):
        np.testing.assert_array_equal(np.concatenate([part[i] for part in parts]), whole[i])


def test_seed_and_epoch_change_the_order():
    arguments = {"shards": [[500]], "batch_size": 500}
    first, second = (step_rows(0, seed=s, **arguments)[2] for s in (0, 1))
    third = step_rows(1, seed=0, **arguments)[2]
    assert (first != second).mean() > 0.9
    assert (first != third).mean() > 0.9


def test_batch_that_hosts_cannot_share():
    with pytest.raises(UserError, match="10 cannot be shared evenly by 3"):
        step_rows(0, shards=[[5]], seed=0, batch_size=10, hosts=3)


# Runs that were begun must go on: without windows and skipped rows this order is for ever.
@pytest.mark.parametrize(
    ("k", "options", "expected"),
    [
        (
            0,
            {"shards": [[1000]], "seed": 0},
            ([0] * 8, [0] * 8, [753, 874, 742, 94, 206, 973, 836, 300]),
        ),
        (
            12345678,
            {"shards": [[1000], [17]], "seed": 7},
            ([97114] * 8, [0] * 8, [148, 326, 278, 435, 136, 8, 429, 501]),
        ),
        (
            3,
            {"shards": [[50], [9]], "weights": [2.0, 1.0], "seed": 3},
            ([0, 0, 0, 0, 1, 0, 0, 0], [1, 0, 0, 0, 1, 0, 0, 0], [7, 29, 23, 33, 7, 10, 12, 47]),
        ),
        (
            999999,
            {
                "shards": [[50], [9]],
                "weights": [2.0, 1.0],
                "seed": 3,
                "host": 1,
                "hosts": 2,
            },
            ([296278, 106669, 106669, 106669], [1, 0, 0, 0], [8, 3, 42, 25]),
        ),
    ],
)
def test_the_order_of_runs_that_were_begun(k, options, expected):
    found = step_rows(k, batch_size=8, **options)
    assert tuple(values.tolist() for values in found) == expected
