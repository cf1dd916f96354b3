"""Extending the vocabulary of a preset by what a corpus needs."""

from __future__ import annotations

import itertools
import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.command.run import RunOptions
from pipelines.errors import UserError
from pipelines.records.manifest import read_manifest
from pipelines.text.extended_vocabulary import extend_vocabulary, find_new_pieces
from pipelines.text.vocabulary import SPECIAL_TOKENS, Vocabulary
from pipelines.text.vocabulary_source import load_vocabulary
from pipelines.text.wordpiece import WordIds
from pipelines.text.words import split_words
from pipelines.vocab.config import VocabConfig
from pipelines.vocab.learn import learn_extension
from pipelines.vocab.pipeline import learn_vocabulary
from pipelines.vocab.select_words import select_words

_LETTERS = [*"abdeorst", *(f"##{letter}" for letter in "abdeorst")]
_OLD = Vocabulary((*SPECIAL_TOKENS, "[unused0]", *_LETTERS, "##er", "toast"))


def extend(words, number, old=_OLD):
    selected = select_words(list(words), np.array(list(words.values())), reserved_tokens=())
    return learn_extension(selected, old, number)


def pieces_of(words, vocabulary):
    """Into how many pieces all words are split; an unknown one into one for each character."""
    ids = WordIds(vocabulary)
    return sum(
        count * (len(word) if vocabulary.unk_id in ids[word] else len(ids[word]))
        for word, count in words.items()
    )


def test_a_hand_worked_extension():
    words = {"toaster": 90, "toasters": 80, "toast": 1000, "boarder": 60, "boarders": 9, "do": 5}
    learned = extend(words, 2)
    assert learned.reason_smaller is None
    # toast ##er is two pieces already, and what is one piece is never learned again.
    new = Vocabulary(tuple(learned.tokens))
    assert len(learned.tokens) == _OLD.size + 1
    added = [new.tokens[i] for i in find_new_pieces(new, _OLD)]
    everything = {w[:n] for w in words for n in range(2, 9)} | {
        f"##{w[m:n]}" for w in words for m in range(1, 8) for n in range(m + 2, 9)
    }
    best = min(
        pieces_of(words, extend_vocabulary(_OLD, pair))
        for pair in itertools.combinations(sorted(everything - set(_OLD.tokens)), 2)
    )
    assert pieces_of(words, new) == best, added


@settings(max_examples=40)
@given(
    st.dictionaries(st.text("abtd漢é", min_size=1, max_size=6), st.integers(1, 9), min_size=3),
    st.integers(0, 6),
)
def test_what_always_holds(words, number):
    learned = extend(words, number)
    again = extend(dict(sorted(words.items(), reverse=True)), number)
    assert learned.tokens == again.tokens
    new = Vocabulary(tuple(learned.tokens))
    added = find_new_pieces(new, _OLD)
    assert added is not None
    assert len(added) == number or learned.reason_smaller
    assert pieces_of(words, new) <= pieces_of(words, _OLD)


def test_characters_that_were_missing_come_with_what_they_spell():
    learned = extend({"éa": 50, "éb": 40, "éd": 30, "é": 9, "do": 60}, 2)
    assert set(learned.tokens) - set(_OLD.tokens) == {"é", "do"}


@pytest.fixture(scope="module")
def preset(tmp_path_factory, vocab_dir):
    """A Hugging Face folder whose vocabulary knows the corpus' letters and some of its words."""
    folder = tmp_path_factory.mktemp("preset")
    tokens = (vocab_dir / "vocab.txt").read_text("utf-8").split("\n")[:60]
    tokens[5:5] = [f"[unused{i}]" for i in range(4)]
    (folder / "vocab.txt").write_text("".join(f"{token}\n" for token in tokens), "utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps({"strip_accents": True}))
    return folder


def run(preset, output, **options):
    config = VocabConfig(from_preset=str(preset), output=str(output), **options)
    learn_vocabulary(config, RunOptions())
    return read_manifest(str(output))


def test_the_vocabulary_of_a_preset_as_it_is(preset, corpus, tmp_path):
    manifest = run(preset, tmp_path / "a")
    assert (tmp_path / "a" / "vocab.txt").read_bytes() == (preset / "vocab.txt").read_bytes()
    assert manifest.facts["size"] == 64
    source = load_vocabulary(str(tmp_path / "a"))
    assert (source.lowercase, source.strip_accents) == (True, True)
    # With documents it is judged by those held out.
    judged = run(preset, tmp_path / "b", input=(str(corpus),), held_out_fraction=0.2)
    assert (tmp_path / "b" / "vocab.txt").read_bytes() == (preset / "vocab.txt").read_bytes()
    assert judged.facts["held_out"]["pieces_per_word"] > 1


def test_an_extension_is_judged_by_documents_it_did_not_see(
    preset, corpus, texts, tmp_path, capsys
):
    options = {"input": (str(corpus),), "extend": 40, "held_out_fraction": 0.2}
    manifest = run(preset, tmp_path / "a", **options)
    old, new = (load_vocabulary(str(f / "vocab.txt")).vocabulary for f in (preset, tmp_path / "a"))
    added = find_new_pieces(new, old)
    assert added == [5, 6, 7, 8, *range(64, 100)]
    facts = manifest.facts
    assert facts["size"] == new.size == 100
    before, after = facts["held_out_before"], facts["held_out"]
    assert before["words"] == after["words"]
    assert after["pieces_per_word"] < 0.9 * before["pieces_per_word"]
    assert "on it with the preset alone: pieces a word" in capsys.readouterr().out
    words = Counter(w for t in texts for w in split_words(t, lowercase=True, strip_accents=True))
    assert pieces_of(words, new) < 0.9 * pieces_of(words, old)
    # Run again it is recognised; as another extension it is another output.
    run(preset, tmp_path / "a", **options)
    assert "finished already" in capsys.readouterr().err
    with pytest.raises(UserError, match="extend was 40, now 41"):
        run(preset, tmp_path / "a", **options | {"extend": 41})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"extend": 3}, "--input: name the documents"),
        ({"extend": -1}, "--extend -1: a number of pieces"),
        ({"vocab_size": 99}, "--vocab_size 99: --from_preset brings a vocabulary of its own"),
        ({"lowercase": False}, r"--lowercase false: the vocabulary of .* has true; leave it out"),
        ({"extend": 10**6, "documents": True}, r"--extend 1000000: the words hold only \d+ pieces"),
    ],
)
def test_what_contradicts_it(preset, corpus, tmp_path, options, message):
    if options.pop("documents", False):
        options["input"] = (str(corpus),)
    with pytest.raises(UserError, match=message):
        run(preset, tmp_path / "out", **options)
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_an_extension_is_of_something(tmp_path, corpus):
    config = VocabConfig(input=(str(corpus),), output=str(tmp_path), extend=3)
    with pytest.raises(UserError, match="to the vocabulary of --from_preset"):
        learn_vocabulary(config, RunOptions())
