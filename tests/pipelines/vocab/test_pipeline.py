"""The vocab stage on real runners: one vocabulary however the corpus is cut, and clear errors."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path

import pytest

from pipelines.command import RunOptions
from pipelines.errors import UserError
from pipelines.manifest import read_manifest
from pipelines.text import split_words
from pipelines.vocab.config import VocabConfig
from pipelines.vocab.pipeline import learn_vocabulary
from pipelines.vocab.word_table import WordTable, add_tables, cut_by_word, most_frequent


def run(config: VocabConfig, *beam_args: str) -> dict[str, bytes]:
    learn_vocabulary(config, RunOptions(beam_args=beam_args))
    return {
        name: (Path(config.output) / name).read_bytes() for name in ("vocab.txt", "manifest.json")
    }


def test_one_vocabulary_however_the_corpus_is_cut(tmp_path, texts, vocab_dir, monkeypatch):
    expected = {name: (vocab_dir / name).read_bytes() for name in ("vocab.txt", "manifest.json")}
    shuffled = list(texts)
    random.Random(3).shuffle(shuffled)
    (tmp_path / "parts").mkdir()
    for part in range(4):
        lines = [json.dumps({"text": text}) + "\n" for text in shuffled[part::4]]
        (tmp_path / "parts" / f"{part}.jsonl").write_text("".join(lines))
    monkeypatch.setattr("pipelines.documents.BLOCK_BYTES", 1000)
    monkeypatch.setattr("pipelines.vocab.pipeline._FLUSH_WORDS", 50)
    for number, beam_args in enumerate(
        [("--direct_num_workers=3",), ("--runner=BundleBasedDirectRunner",)]
    ):
        config = VocabConfig(
            input=(str(tmp_path / "parts"),), output=str(tmp_path / str(number)), vocab_size=300
        )
        assert run(config, *beam_args) == expected


def test_counts_are_those_of_the_tokenizers_own_splitting(vocab_dir, texts):
    counts = read_manifest(str(vocab_dir)).counts
    words = Counter(
        word for text in texts for word in split_words(text, lowercase=True, strip_accents=True)
    )
    assert counts["words_counted"] == sum(words.values())
    assert counts["distinct_words"] == len(words)
    assert counts["documents_in"] == counts["documents_out"] == len(texts)


def test_the_vocabulary_has_the_size_asked_for(vocab_dir):
    tokens = (vocab_dir / "vocab.txt").read_text().split("\n")
    assert tokens[:5] == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    assert tokens[-1] == ""
    assert len(tokens) - 1 == 300 == len(set(tokens[:-1]))


def test_a_corpus_too_small_says_so(tmp_path, vocab_dir):
    path = tmp_path / "a.txt"
    path.write_text("a few words\nand a few more\n")
    config = VocabConfig(input=(str(path),), output=str(tmp_path / "out"))
    run(config)
    facts = read_manifest(config.output).facts
    assert facts["size"] < 30522
    assert "only" in facts["reason_smaller"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"reserved_tokens": ("[PAD]", "[UNK]", "[CLS]", "[SEP]")}, r"\[MASK\] is missing"),
        ({"reserved_tokens": ("[PAD]",) * 2}, r"\[PAD\] named twice"),
        ({"vocab_size": 5}, "larger than the 5 reserved"),
        ({"vocab_size": 12}, "too small for"),
        ({"max_token_length": 0}, "--max_token_length 0"),
    ],
)
def test_impossible_options(tmp_path, corpus, fields, message):
    config = VocabConfig(input=(str(corpus),), output=str(tmp_path / "out"), **fields)
    with pytest.raises(UserError, match=message):
        run(config)
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_no_words_at_all(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("\n \n\x00\n")
    with pytest.raises(UserError, match="no words to learn from"):
        run(VocabConfig(input=(str(path),), output=str(tmp_path / "out")))


def test_word_tables_add_up():
    left, right = Counter({"a": 2, "é": 1}), Counter({"a": 1, "b": 5})
    tables: list[WordTable] = [
        table for counter in (left, right) for table in cut_by_word(counter).values()
    ]
    assert add_tables(tables) == left + right
    words, counts = most_frequent(Counter({"b": 2, "a": 2, "c": 3}), 2)
    assert words == ["c", "a"]
    assert counts.tolist() == [3, 2]
    assert add_tables([WordTable.of([], [])]) == Counter()
