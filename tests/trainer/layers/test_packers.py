"""The packers equal KerasHub's, and a hand-worked trimming."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.layers.multi_segment_packer import MultiSegmentPacker
from trainer.layers.start_end_packer import StartEndPacker
from trainer.layers.trim_segments import trimmed_lengths

_SEGMENT = st.lists(st.integers(10, 99), max_size=9)


def test_trimming_by_hand() -> None:
    lengths = np.array([[6, 4], [1, 9], [2, 2], [0, 7]])
    assert trimmed_lengths(lengths, 5, "round_robin").tolist() == [[3, 2], [1, 4], [2, 2], [0, 5]]
    assert trimmed_lengths(lengths, 5, "waterfall").tolist() == [[5, 0], [1, 4], [2, 2], [0, 5]]
    assert trimmed_lengths(lengths, -1, "round_robin").sum() == 0


@given(
    st.integers(1, 4).flatmap(
        lambda s: st.lists(st.lists(st.integers(0, 30), min_size=s, max_size=s), min_size=1)
    ),
    st.integers(0, 40),
)
@settings(max_examples=50, deadline=None)
def test_trimming_fills_the_budget_fairly(lengths: list[list[int]], budget: int) -> None:
    array = np.array(lengths)
    for truncate in ("round_robin", "waterfall"):
        kept = trimmed_lengths(array, budget, truncate)
        assert (kept <= array).all()
        assert (kept.sum(axis=1) == np.minimum(array.sum(axis=1), budget)).all()
    # Nobody who was cut has more than one token less than anybody else.
    for row, have in zip(trimmed_lengths(array, budget, "round_robin"), array, strict=True):
        cut = row[row < have]
        assert not len(cut) or cut.min() >= row.max() - 1


@pytest.mark.parametrize("truncate", ["round_robin", "waterfall"])
@pytest.mark.parametrize("padding_side", ["left", "right"])
def test_multi_segment_packer_equals_keras_hub(truncate: str, padding_side: str) -> None:
    keras_hub = pytest.importorskip("keras_hub")
    options = {
        "sequence_length": 12,
        "start_value": 1,
        "end_value": 2,
        "sep_value": [2, 3],
        "pad_value": 7,
        "truncate": truncate,
        "padding_side": padding_side,
    }
    ours, theirs = MultiSegmentPacker(**options), keras_hub.layers.MultiSegmentPacker(**options)
    rng = np.random.default_rng(0)
    for segments in (1, 2, 3):
        batch = tuple(
            [rng.integers(10, 99, rng.integers(0, 9)).tolist() for _ in range(20)]
            for _ in range(segments)
        )
        for found, expected in zip(ours(batch), theirs(batch), strict=True):
            assert found.dtype == np.int32
            np.testing.assert_array_equal(found, np.asarray(expected))
    single = ours(([11, 12], [13]))
    assert [part.shape for part in single] == [(12,), (12,)]


def test_start_end_packer_by_hand() -> None:
    packer = StartEndPacker(6, start_value=1, end_value=2, return_padding_mask=True)
    tokens, mask = packer([[5, 6, 7], [8, 9, 10, 11, 12, 13]])
    assert tokens.tolist() == [[1, 5, 6, 7, 2, 0], [1, 8, 9, 10, 11, 2]]
    assert mask.tolist() == [[True] * 5 + [False], [True] * 6]
    words = StartEndPacker(5, start_value=["<a>", "<b>"], pad_value="<p>", padding_side="left")
    assert words(["x", "y"]) == ["<p>", "<a>", "<b>", "x", "y"]
    assert words([["x"], []]) == [["<p>", "<p>", "<a>", "<b>", "x"], ["<p>"] * 3 + ["<a>", "<b>"]]
    with pytest.raises(ValueError, match=r"end_value .* not 2.0"):
        StartEndPacker(5, end_value=2.0)
    assert packer([5], add_end_value=False)[0].tolist() == [1, 5, 0, 0, 0, 0]
    copy = StartEndPacker.from_config(packer.get_config())
    assert copy([5, 6])[0].tolist() == packer([5, 6])[0].tolist()
