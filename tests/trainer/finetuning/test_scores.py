from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.finetuning.scores import (
    accuracy,
    class_f1,
    confusion_matrix,
    macro_f1,
    matthews,
    pearson,
    score_classes,
    score_numbers,
    spearman,
)

LABELS = [0, 0, 0, 0, 1, 1, 1, 2, 2, 2]
PREDICTIONS = [0, 0, 0, 1, 1, 1, 0, 2, 2, 0]


def test_worked_example() -> None:
    confusion = confusion_matrix(LABELS, PREDICTIONS, 3)
    assert confusion.tolist() == [[3, 1, 0], [1, 2, 0], [1, 0, 2]]
    assert accuracy(confusion) == 0.7
    # Precision 3/5, 2/3, 1 and recall 3/4, 2/3, 2/3.
    assert class_f1(confusion) == pytest.approx([2 / 3, 2 / 3, 4 / 5])
    assert macro_f1(confusion) == pytest.approx((2 / 3 + 2 / 3 + 4 / 5) / 3)
    # (7 * 10 - (4*5 + 3*3 + 3*2)) / sqrt((100 - 38) * (100 - 34))
    assert matthews(confusion) == pytest.approx(35 / np.sqrt(62 * 66))


def test_two_classes_matthews_is_the_correlation_of_the_labels() -> None:
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 2, 200)
    predictions = np.where(rng.random(200) < 0.7, labels, 1 - labels)
    confusion = confusion_matrix(labels, predictions, 2)
    assert matthews(confusion) == pytest.approx(np.corrcoef(labels, predictions)[0, 1])


def test_equal_to_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 8, 300) / 2
    predictions = labels + rng.normal(size=300).round(1)
    assert pearson(labels, predictions) == pytest.approx(stats.pearsonr(labels, predictions)[0])
    assert spearman(labels, predictions) == pytest.approx(stats.spearmanr(labels, predictions)[0])


@pytest.mark.parametrize(
    ("labels", "predictions"), [([0, 1, 2], [1, 1, 1]), ([1, 1], [1, 1]), ([], []), ([2], [0])]
)
def test_undefined_figures_are_numbers(labels: list[int], predictions: list[int]) -> None:
    report = score_classes(labels, predictions, 3) | score_numbers(labels, predictions)
    assert all(np.isfinite(list(report.values())))
    assert report["matthews"] == 0 == report["pearson"] == report["spearman"]


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1), st.permutations(range(4))
)
def test_renaming_the_classes_changes_nothing(
    pairs: list[tuple[int, int]], names: list[int]
) -> None:
    labels, predictions = np.array(pairs).T
    before = score_classes(labels, predictions, 4)
    after = score_classes(np.array(names)[labels], np.array(names)[predictions], 4)
    assert after == pytest.approx(before)
    assert -1 - 1e-9 <= before["matthews"] <= 1 + 1e-9
    assert 0 <= before["macro_f1"] <= 1


@given(st.lists(st.tuples(st.integers(-50, 50), st.integers(-50, 50)), min_size=2, max_size=40))
def test_spearman_sees_only_the_order(pairs: list[tuple[int, int]]) -> None:
    x, y = np.array(pairs, np.float64).T
    assert spearman(x, y) == pytest.approx(spearman(np.exp(x / 10), y**3))
    assert spearman(x, y) == pytest.approx(spearman(y, x))
    assert spearman(x, -y) == pytest.approx(-spearman(x, y))
