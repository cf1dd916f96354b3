"""What is said beside figures: their baseline, their margin, and that nothing was learned."""

from __future__ import annotations

import re

import numpy as np
import pytest
from scipy import stats

from trainer.finetuning.scores import describe_certainty


def outputs_for(predictions: list[int], classes: int) -> np.ndarray:
    return np.eye(classes, dtype=np.float32)[predictions]


def test_a_good_classifier_has_its_margin_and_its_baseline():
    labels = np.array([0] * 590 + [1] * 410)
    predictions = [0] * 580 + [1] * 420
    (sentence,) = describe_certainty(["bad", "good"], labels, outputs_for(predictions, 2))
    # Wilson's interval for 990 of 1,000 is [0.9817, 0.9946].
    assert sentence == (
        "accuracy 99.0%, with 95 % certainty 98.2% to 99.5% (1,000 examples); always saying 'bad' "
        "would be right in 59.0%"
    )


@pytest.mark.parametrize(("count", "few"), [(10, True), (500, False)])
def test_one_class_for_all_and_few_examples_are_said(count, few):
    labels = np.arange(count) % 5 // 3  # three of five are 0
    said = describe_certainty(["no", "yes"], labels, outputs_for([1] * count, 2))
    assert "accuracy 40.0%, with 95 % certainty " in said[0]
    assert "always saying 'no' would be right in 60.0%" in said[0]
    assert said[1].startswith("every text is said to be 'yes': nothing has been learned")
    assert (said[-1] == f"{count} examples are too few to tell good from bad") == few
    assert len(said) == 2 + few


@pytest.mark.parametrize("right", [0, 5, 6])
def test_the_interval_stays_between_nothing_and_all(right):
    labels = np.array([0, 1] * 3)
    predictions = np.where(np.arange(6) < right, labels, 1 - labels).tolist()
    sentence = describe_certainty(["a", "b"], labels, outputs_for(predictions, 2))[0]
    low, high = map(float, re.findall(r"certainty ([\d.]+)% to ([\d.]+)%", sentence)[0])
    expected = stats.binomtest(right, 6).proportion_ci(method="wilson")
    assert (low, high) == pytest.approx((100 * expected.low, 100 * expected.high), abs=0.06)
    assert 0 <= low <= 100 * right / 6 <= high <= 100


def test_no_better_than_the_commonest_class_is_said():
    labels = np.array([0] * 300 + [1] * 100)
    said = describe_certainty(["a", "b"], labels, outputs_for([0] * 299 + [1] + [0] * 100, 2))
    assert said[1] == "that is no better than not reading the texts"


def test_numbers_are_compared_with_their_mean():
    labels = np.array([1.0, 3.0] * 150, np.float32)
    outputs = np.zeros((300, 1), np.float32)
    (sentence,) = describe_certainty([], labels, outputs)
    assert sentence == "always saying the mean would have a mean squared error of 1.0000"
