"""What the stage says of accents that it would strip, and of a vocabulary that lacks something."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from pipelines.command.run import RunOptions
from pipelines.text.accents import without_accents
from pipelines.text.unknown_words import count_words
from pipelines.text.words import split_words
from pipelines.vocab.advice import describe_lost_accents, describe_shortcomings
from pipelines.vocab.config import VocabConfig
from pipelines.vocab.pipeline import learn_vocabulary

GERMAN = "Es war schon schön für die Leute, und schon war es für uns alle vorbei."
TEXTS = {
    "German": (GERMAN, "für becomes fur, schön the same as schon; "),
    "Korean": ("한국 사람은 한국 말을 한다", "한국 becomes ᄒ ᅡ ᆫ ᄀ ᅮ ᆨ; "),
    "Japanese": ("これは本である。それも本である。", "である becomes てある; "),
    "Vietnamese": ("Tiếng Việt có dấu và tiếng Anh không dấu", "tiếng becomes tieng; "),
    "Hindi": ("यह हिन्दी है और वह हिन्दी है", "है becomes ह; "),
    "Russian": ("твой дом мой, и мой дом твой", "твой becomes твои; "),
}


def advice(text: str) -> str | None:
    return describe_lost_accents(count_words([text], lowercase=True, strip_accents=False))


@pytest.mark.parametrize("language", TEXTS)
def test_languages_that_lose_by_it_are_told_what_and_what_helps(language):
    text, examples = TEXTS[language]
    said = advice(text)
    assert said is not None
    assert examples in said
    assert "--strip_accents false" in said
    has_case = language not in ("Korean", "Japanese", "Hindi")
    assert ("--lowercase false" in said) == has_case


@pytest.mark.parametrize("text", ["", "1 ≠ 2", "中文没有空格！", "plain words " * 60 + "café"])
def test_texts_that_lose_next_to_nothing_are_told_nothing(text):
    assert advice(text) is None


@pytest.mark.parametrize("text", [text for text, _ in TEXTS.values()])
def test_a_word_without_accents_is_that_of_the_tokenizer(text):
    with_them = split_words(text, lowercase=True, strip_accents=False)
    stripped = split_words(text, lowercase=True, strip_accents=True)
    assert [without_accents(word) for word in with_them] == stripped


@pytest.mark.parametrize(
    ("given", "is_told"),
    [({}, True), ({"strip_accents": True}, False), ({"lowercase": False}, False)],
)
@pytest.mark.parametrize("dry_run", [True, False])
def test_the_stage_says_it_unless_the_user_has_chosen(tmp_path, capsys, given, is_told, dry_run):
    (tmp_path / "a.txt").write_text(f"{GERMAN}\n" * 3, "utf-8")
    config = VocabConfig(
        input=(str(tmp_path / "a.txt"),), output=str(tmp_path / "v"), vocab_size=80, **given
    )
    learn_vocabulary(config, RunOptions(dry_run=dry_run))
    assert ("removing accents changes" in capsys.readouterr().err) == is_told


def test_words_are_counted_as_they_are_split(texts):
    counted = count_words(texts, lowercase=True, strip_accents=True)
    split = [split_words(text, lowercase=True, strip_accents=True) for text in texts]
    assert counted == Counter(word for words in split for word in words)


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
