"""What stripping accents takes from a language, and that the stage says it before it counts."""

from __future__ import annotations

from collections import Counter

import pytest

from pipelines.command.run import RunOptions
from pipelines.text.accents import without_accents
from pipelines.text.unknown_words import count_words
from pipelines.text.words import split_words
from pipelines.vocab.config import VocabConfig
from pipelines.vocab.lost_accents import describe_lost_accents
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
