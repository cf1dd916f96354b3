"""What is said of a vocabulary that lacks something, and of which nothing is said."""

from __future__ import annotations

from typing import Any

import pytest

from pipelines.vocab.config import VocabConfig
from pipelines.vocab.shortcomings import describe_shortcomings

GOOD: dict[str, Any] = {
    "size": 8000,
    "threshold": 8,
    "alphabet": 1000,
    "alphabet_dropped": 50,
    "unknown": {"words": 5, "rate": 0.0005, "most_frequent": {}},
    "held_out": {"words": 20_000},
}


def said(facts: dict[str, Any], **options: Any) -> list[str]:
    config = VocabConfig(input=("a",), output="b", vocab_size=8000, **options)
    return list(describe_shortcomings({**GOOD, **facts}, config))


@pytest.mark.parametrize("facts", [{}, {"held_out": None}, {"unknown": {}, "threshold": 3}])
def test_nothing_is_said_of_a_good_one(facts):
    assert said(facts) == []


def test_each_shortcoming_has_its_fix():
    unknown = {"unknown": {"words": 500, "rate": 0.02}}
    (sentence,) = said(unknown)
    assert sentence.startswith(
        "2.00% of all words are [UNK], because the alphabet of 1,000 lacks 50"
    )
    assert "raise --vocab_size (now 8,000)" in sentence
    (sentence,) = said(unknown, max_unique_chars=1000)
    assert "leave --max_unique_chars 1000 out" in sentence
    (sentence,) = said({"threshold": 1})
    assert sentence.startswith("the text is little for 8,000 pieces")
    (sentence,) = said({"held_out": {"words": 481}})
    assert sentence.startswith("judged by only 481 held-out words")
    assert "--held_out_fraction 0.2 " in sentence
    (sentence,) = said({"held_out": {"words": 2000}})
    assert "--held_out_fraction 0.05 " in sentence


def test_a_small_sample_that_cannot_be_much_larger_is_let_be():
    assert said({"held_out": {"words": 481}}, held_out_fraction=0.2) == []
