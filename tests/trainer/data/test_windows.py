"""Windows of shards and skipped rows: still every row once an epoch, few shards at a time."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.errors import UserError
from pipelines.records.manifest import Manifest
from pipelines.records.shards import ShardInfo
from pipelines.text.vocabulary import SPECIAL_TOKENS, Vocabulary
from trainer.data.dataset import Dataset
from trainer.data.mixture import weigh_by_temperature
from trainer.data.order import RowOrder
from trainer.data.skipped_rows import fingerprint_rows, read_skipped_rows

_SOURCES = st.lists(
    st.lists(st.integers(0, 9), min_size=1, max_size=6).filter(any), min_size=1, max_size=3
)


def read_steps(count, **arguments):
    order = RowOrder(**arguments)
    parts = [order.rows(step) for step in range(count)]
    return tuple(np.concatenate([part[i] for part in parts]) for i in range(3))


def shards_of(rows, counts):
    return np.searchsorted(np.cumsum(counts), rows, side="right")


@given(
    shards=_SOURCES,
    window=st.integers(1, 4),
    seed=st.integers(0, 2**40),
    batch=st.integers(1, 12),
    weighted=st.booleans(),
)
@settings(deadline=None, max_examples=80)
def test_every_row_once_an_epoch_and_few_shards_at_a_time(shards, window, seed, batch, weighted):
    rows = [sum(counts) for counts in shards]
    options = {
        "weights": [1.0] * len(rows) if weighted else None,
        "seed": seed,
        "batch_size": batch,
        "shards": shards,
        "window": window,
    }
    steps = -(-3 * sum(rows) // batch)
    epoch, source, row = read_steps(steps, **options)
    order = RowOrder(**options)
    assert (row >= 0).all()
    if not weighted:
        assert (np.diff(epoch) >= 0).all()
    for i, count in enumerate(rows):
        for e in range(2):
            mine = row[(source == i) & (epoch == e)]
            assert len(set(mine.tolist())) == len(mine)
            if not weighted or (epoch[source == i] > e).any():
                assert sorted(mine.tolist()) == list(range(count))
    streams = len(rows) if weighted else 1
    for k in range(steps):
        part = slice(k * batch, (k + 1) * batch)
        named = set(order.shards_needed(k))
        used = set()
        for i, counts in enumerate(shards):
            mine = source[part] == i
            numbers = shards_of(row[part][mine], counts)
            used |= {(e, i, j) for e, j in zip(epoch[part][mine].tolist(), numbers, strict=True)}
        assert used <= named
        # The windows of the step and the next one, of each stream.
        assert len(named) <= window * (streams + streams * (1 + batch))


def test_the_working_set_is_two_windows():
    shards = [[100] * 40]
    options = {"seed": 3, "batch_size": 20, "shards": shards, "window": 4}
    before, order = None, RowOrder(**options)
    for k in range(3 * 4000 // 20):
        named = [shard for _, _, shard in order.shards_needed(k)]
        assert len(named) == 8
        if before is not None and named != before:
            assert named[:4] == before[4:]  # What comes next was announced before.
        before = named
    # Steps that lie in two windows need no third.
    across = RowOrder(**options | {"batch_size": 32})
    assert {len(across.shards_needed(k)) for k in range(3 * 4000 // 32)} == {8}
    _, _, row = read_steps(200, **options)
    visited = shards_of(row, shards[0]).reshape(10, 400)
    assert all(len(set(window.tolist())) == 4 for window in visited)
    assert all(not set(a.tolist()) & set(b.tolist()) for a, b in pairwise(visited))


@given(
    hosts=st.sampled_from([1, 2, 3, 4, 6, 12]),
    k=st.integers(0, 10**7),
    weights=st.sampled_from([None, (2.0, 1.0)]),
)
@settings(deadline=None, max_examples=40)
def test_hosts_share_the_same_step(weights, hosts, k):
    arguments = {
        "weights": weights,
        "seed": 5,
        "batch_size": 12,
        "shards": [[300, 0, 700], [9, 8]],
        "window": 2,
    }
    order = RowOrder(**arguments)
    whole = order.rows(k)
    parts = [order.rows(k, host, hosts) for host in range(hosts)]
    for i in range(3):
        np.testing.assert_array_equal(np.concatenate([part[i] for part in parts]), whole[i])


def test_every_row_of_every_shard_is_equally_likely_first():
    rows, seeds = 24, 4800
    options = {"batch_size": 1, "shards": [[4] * 6], "window": 2}
    first = [int(RowOrder(seed=seed, **options).rows(0)[2][0]) for seed in range(seeds)]
    expected = seeds / rows
    statistic = ((np.bincount(first, minlength=rows) - expected) ** 2 / expected).sum()
    assert statistic < 61  # chi-square with 23 degrees of freedom: p = 3e-5


@given(
    shards=st.lists(st.integers(0, 9), min_size=1, max_size=6).filter(any),
    skipped=st.lists(st.integers(0, 53), max_size=60),
)
@settings(deadline=None, max_examples=80)
def test_an_epoch_is_all_rows_but_the_skipped_ones(shards, skipped):
    total = sum(shards)
    skipped = np.unique(np.array([row for row in skipped if row < total], np.int64))
    left = [row for row in range(total) if row not in set(skipped.tolist())]
    if not left:
        return
    for window in (None, 2):
        order = RowOrder([shards], skipped=[skipped], seed=1, batch_size=len(left), window=window)
        assert sorted(order.rows(0)[2].tolist()) == left
    counts = np.bincount(shards_of(np.array(left, np.int64), shards), minlength=len(shards))
    assert order.shards == [counts[: len(shards)].tolist()]


def make_dataset(folder, rows, copies=1):
    shards = tuple(ShardInfo(name, count, 0, "") for name, count in rows.items())
    stage = "mask" if copies > 1 else "tokenize"
    manifest = Manifest(stage, {}, {}, facts={"copies": copies}, splits={"train": shards})
    return Dataset(folder, manifest, Vocabulary(SPECIAL_TOKENS))


def test_a_list_of_skipped_rows(tmp_path):
    sources = [
        make_dataset("data/a", {"train-0": 10, "train-1": 5}),
        # Two copies of the same shard.
        make_dataset("data/b", {"train-0": 7, "other-0": 7}, copies=2),
    ]
    path = tmp_path / "skip.txt"
    path.write_text("# bad rows\n a/train-0 3\ntrain-1 0-2 # three\n\nother-0 6\nb/train-0 6\n")
    found = read_skipped_rows(str(path), sources)
    assert [rows.tolist() for rows in found] == [[3, 10, 11, 12], [6]]
    fingerprint = "877d290fb286b017361e772abd59e89f927da37b3ba7565e7d13a161d6e5a71c"
    assert fingerprint_rows(found) == fingerprint
    path.write_text("train-1")
    assert read_skipped_rows(str(path), sources)[0].tolist() == [10, 11, 12, 13, 14]
    for entry, message in {
        "train-0 1": "2 folders have a shard called 'train-0'",
        "train-9 1": "no training shard of the data is called 'train-9'",
        "train-1 5": "has records 0 to 4",
        "train-1 3-2": "has records 0 to 4",
    }.items():
        path.write_text(f"train-1 0\n{entry}\n")
        with pytest.raises(UserError, match=f"line 2: .*{message}"):
            read_skipped_rows(str(path), sources)
    path.write_text("b/train-0 0-6")
    with pytest.raises(UserError, match="no training row of data/b is left"):
        read_skipped_rows(str(path), sources)
    with pytest.raises(UserError, match="cannot read"):
        read_skipped_rows(str(tmp_path / "nothing"), sources)


def test_temperature_makes_shares_alike():
    assert weigh_by_temperature([300, 100], 1.0) == pytest.approx([0.75, 0.25])
    assert weigh_by_temperature([900, 100], 2.0) == pytest.approx([0.75, 0.25])
    assert weigh_by_temperature([900, 100], float("inf")) == pytest.approx([0.5, 0.5])
    with pytest.raises(UserError, match="must be at least 1"):
        weigh_by_temperature([1, 1], 0.5)
