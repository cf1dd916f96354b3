from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from trainer.finetuning.scores import (
    class_f1,
    confusion_matrix,
    describe_classes,
    score_classes,
    score_each_class,
    score_numbers,
)

LABELS = [0, 0, 0, 0, 1, 1, 1, 2, 2, 2]
PREDICTIONS = [0, 0, 0, 1, 1, 1, 0, 2, 2, 0]


def test_worked_example() -> None:
    confusion = confusion_matrix(LABELS, PREDICTIONS, 3)
    assert confusion.tolist() == [[3, 1, 0], [1, 2, 0], [1, 0, 2]]
    figures = score_classes(LABELS, PREDICTIONS, 3)
    assert figures["accuracy"] == 0.7
    # Precision 3/5, 2/3, 1 and recall 3/4, 2/3, 2/3.
    assert class_f1(confusion) == pytest.approx([2 / 3, 2 / 3, 4 / 5])
    assert figures["macro_f1"] == pytest.approx((2 / 3 + 2 / 3 + 4 / 5) / 3)
    # (7 * 10 - (4*5 + 3*3 + 3*2)) / sqrt((100 - 38) * (100 - 34))
    assert figures["matthews"] == pytest.approx(35 / np.sqrt(62 * 66))


def test_two_classes_matthews_is_the_correlation_of_the_labels() -> None:
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 2, 200)
    predictions = np.where(rng.random(200) < 0.7, labels, 1 - labels)
    figures = score_classes(labels, predictions, 2)
    assert figures["matthews"] == pytest.approx(np.corrcoef(labels, predictions)[0, 1])


def test_correlations_of_a_worked_example() -> None:
    report = score_numbers([0, 1, 2, 3], [0, 1, 1, 4])
    # Deviations -3, -1, 1, 3 (halves) and -3, -1, -1, 5 (halves).
    assert report["pearson"] == pytest.approx(24 / np.sqrt(20 * 36))
    # Ranks 1 2.5 2.5 4: deviations -3, 0, 0, 3 (halves).
    assert report["spearman"] == pytest.approx(18 / np.sqrt(20 * 18))
    assert report["mean_squared_error"] == 0.5


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
    def spearman(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
        return score_numbers(x, y)["spearman"]

    x, y = np.array(pairs, np.float64).T
    assert spearman(x, y) == pytest.approx(spearman(np.exp(x / 10), y**3))
    assert spearman(x, y) == pytest.approx(spearman(y, x))
    assert spearman(x, -y) == pytest.approx(-spearman(x, y))


def report(classes: int, labels: list[int], said: list[int]) -> dict[str, object]:
    names = tuple(f"class {i}" for i in range(classes))
    outputs = np.eye(classes, dtype=np.float32)[said]
    return score_each_class(names, np.array(labels), outputs)


def test_few_classes_make_a_matrix() -> None:
    lines = describe_classes(report(3, [0, 0, 0, 1, 2], [0, 2, 2, 1, 2])).split("\n")
    assert [line.split() for line in lines[2:]] == [
        ["class", "0", "1", "0", "2", "0.5000"],
        ["class", "1", "0", "1", "0", "1.0000"],
        ["class", "2", "0", "0", "1", "0.5000"],
    ]


def test_of_many_classes_the_commonest_confusions_are_named() -> None:
    labels = [i for i in range(30) for _ in range(4)]
    said = list(labels)
    said[5 * 4 : 5 * 4 + 3] = [7, 7, 7]
    said[29 * 4] = 0
    shown = describe_classes(report(30, labels, said))
    rows = [line.split() for line in shown.split("\n")]
    assert ["class", "5", "0.4000"] in rows
    assert rows[-2:] == [["class", "5", "class", "7", "3"], ["class", "29", "class", "0", "1"]]
    assert "taken for" not in describe_classes(report(30, labels, labels))
