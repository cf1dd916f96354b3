"""The vocab stage on real runners: one vocabulary however the corpus is cut, and clear errors."""

from __future__ import annotations

import json
import random
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipelines.command.run import RunOptions
from pipelines.documents.blocks import make_block
from pipelines.errors import UserError
from pipelines.keyed_random import bernoulli, fold, purpose_key
from pipelines.records.manifest import read_manifest
from pipelines.text.vocabulary import Vocabulary
from pipelines.text.vocabulary_source import load_vocabulary
from pipelines.text.wordpiece import WordIds
from pipelines.text.words import split_words
from pipelines.vocab.config import VocabConfig
from pipelines.vocab.learn import learn_wordpiece
from pipelines.vocab.learn_tf_text import learn_tf_text
from pipelines.vocab.pipeline import learn_vocabulary
from pipelines.vocab.select_words import select_words


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
    monkeypatch.setattr("pipelines.documents.blocks.BLOCK_BYTES", 1000)
    monkeypatch.setattr("pipelines.vocab.count_words._FLUSH_WORDS", 50)
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
        ({"min_count": 0}, "--min_count 0"),
        ({"min_count": 10**9}, "lower --min_count"),
        ({"held_out_fraction": 1.0}, "--held_out_fraction 1.0"),
        ({"suffix_indicator": "# #"}, "--suffix_indicator '# #'"),
        ({"algorithm": "tf_text", "vocab_size": 12}, "too small for"),
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


def words_of(texts: list[str]) -> Counter[str]:
    return Counter(
        word for text in texts for word in split_words(text, lowercase=True, strip_accents=True)
    )


def test_words_are_counted_once_for_many_vocabularies(tmp_path, corpus, texts, monkeypatch):
    saved = tmp_path / "words.tsv"
    sizes = [{"vocab_size": 250}, {"vocab_size": 400, "algorithm": "tf_text", "lower_thresh": 2}]
    common = {"input": (str(corpus),), "held_out_fraction": 0.1}
    expected = [
        run(VocabConfig(output=str(tmp_path / f"a{i}"), **common, **size))
        for i, size in enumerate(sizes)
    ]
    for i, size in enumerate(sizes):
        config = VocabConfig(
            output=str(tmp_path / f"b{i}"), word_counts=str(saved), **common, **size
        )
        assert run(config) == expected[i]
        # The second vocabulary needs no pipeline.
        monkeypatch.setattr("pipelines.vocab.pipeline.run_pipeline", None)
    lines = saved.read_text("utf-8").split("\n")[1:-1]
    counted = {word: int(count) for word, count, _ in (line.split("\t") for line in lines)}
    assert counted == words_of(texts)
    assert list(counted.values()) == sorted(counted.values(), reverse=True)


def test_words_beyond_the_limit_go_before_the_last_step(tmp_path, corpus, texts, monkeypatch):
    counts = words_of(texts)
    first = [word for _, word in sorted((-count, word) for word, count in counts.items())][:60]
    common = {"input": (str(corpus),), "vocab_size": 120, "max_input_tokens": 60}
    outputs = []
    # In 16 partitions, then in some hundred that are merged in rounds.
    for number, size in enumerate([1 << 30, corpus.stat().st_size // 300]):
        monkeypatch.setattr("pipelines.vocab.count_words._PARTITION_BYTES", size)
        saved = tmp_path / f"words{number}.tsv"
        output = str(tmp_path / str(number))
        config = VocabConfig(output=output, word_counts=str(saved), held_out_fraction=0, **common)
        outputs.append(run(config))
        assert [line.split("\t")[0] for line in saved.read_text().split("\n")[1:-1]] == first
    assert outputs[0] == outputs[1]
    dropped = counts.total() - sum(counts[word] for word in first)
    assert read_manifest(output).counts["words_dropped_rare"] == dropped


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data[:-3], "do not match their checksum"),
        (lambda data: data[: len(data) // 2], "do not match their checksum"),
        (lambda data: data.replace(b"\t0\n", b"\t1\n", 1), "do not match their checksum"),
        (lambda data: b"", "its first line"),
        (lambda data: b"the\t5\t0\n" + data, "its first line"),
        (lambda data: b"[1]\n" + data, "its first line"),
    ],
)
def test_a_damaged_word_count_file_is_refused(tmp_path, corpus, damage, message):
    saved = tmp_path / "words.tsv"
    config = VocabConfig(
        input=(str(corpus),), output=str(tmp_path / "a"), word_counts=str(saved), vocab_size=200
    )
    run(config)
    saved.write_bytes(damage(saved.read_bytes()))
    config = VocabConfig(
        input=(str(corpus),), output=str(tmp_path / "b"), word_counts=str(saved), vocab_size=300
    )
    with pytest.raises(UserError, match=message) as caught:
        run(config)
    assert "\n" not in str(caught.value)
    assert str(saved) in str(caught.value)
    assert not (tmp_path / "b" / "manifest.json").exists()
    if "checksum" not in message:
        # Whose it is cannot be told: it may be anybody's text.
        before = saved.read_bytes()
        with pytest.raises(UserError, match=message):
            learn_vocabulary(config, RunOptions(overwrite=True))
        assert saved.read_bytes() == before
        return
    learn_vocabulary(config, RunOptions(overwrite=True))
    assert read_manifest(config.output).facts["size"] == 300


@pytest.mark.parametrize("overwrite", [False, True])
def test_nothing_of_somebody_is_overwritten(tmp_path, corpus, overwrite):
    options = RunOptions(overwrite=overwrite)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "vocab.txt").write_text("mine")
    config = VocabConfig(input=(str(corpus),), output=str(tmp_path / "out"), vocab_size=200)
    with pytest.raises(UserError, match=r"--output: .*out holds vocab\.txt"):
        learn_vocabulary(config, options)
    assert (tmp_path / "out" / "vocab.txt").read_text() == "mine"
    counts = replace(config, output=str(tmp_path / "new"), word_counts=str(corpus))
    before = corpus.read_bytes()
    with pytest.raises(UserError, match="--word_counts: .* is or holds .*, which --input reads"):
        learn_vocabulary(counts, options)
    assert corpus.read_bytes() == before


def test_word_counts_in_the_output_itself(tmp_path, corpus):
    output = tmp_path / "out"
    common = {"input": (str(corpus),), "output": str(output), "word_counts": f"{output}/words.tsv"}
    run(VocabConfig(vocab_size=200, **common))
    learn_vocabulary(VocabConfig(vocab_size=300, **common), RunOptions(overwrite=True))
    assert read_manifest(str(output)).facts["size"] == 300


def test_word_counts_of_something_else_are_refused(tmp_path, corpus):
    saved = str(tmp_path / "words.tsv")
    common = {"input": (str(corpus),), "word_counts": saved, "vocab_size": 200}
    run(VocabConfig(output=str(tmp_path / "a"), **common))
    with pytest.raises(UserError, match=r"something else \(lowercase, strip_accents changed\)"):
        run(VocabConfig(output=str(tmp_path / "b"), lowercase=False, **common))


def test_word_counts_want_a_file(tmp_path, corpus):
    common = {"input": (str(corpus),), "output": str(tmp_path / "out"), "vocab_size": 200}
    with pytest.raises(UserError, match=r"is a folder; name a file, such as .*words\.tsv"):
        run(VocabConfig(word_counts=str(tmp_path), **common))
    assert not (tmp_path / "out").exists()
    saved = tmp_path / "new" / "folder" / "words.tsv"
    run(VocabConfig(word_counts=str(saved), **common))
    assert saved.exists()


def test_a_vocabulary_is_judged_by_documents_it_did_not_see(tmp_path, corpus, texts):
    # A quarter is held out: every word of the sample is split by a vocabulary learned without it.
    config = VocabConfig(
        input=(str(corpus),), output=str(tmp_path / "a"), vocab_size=280, held_out_fraction=0.25
    )
    run(config)
    manifest = read_manifest(config.output)
    held_out = manifest.facts["held_out"]
    number = manifest.counts["documents_held_out"]
    assert 0.15 < number / len(texts) < 0.35
    block = make_block([text.encode() for text in texts])
    chosen = bernoulli(fold(purpose_key(0, "held-out documents"), block.doc_ids), 0.25)
    sample = [text for text, is_chosen in zip(texts, chosen, strict=True) if is_chosen]
    rest = words_of([t for t, is_chosen in zip(texts, chosen, strict=True) if not is_chosen])
    words = words_of(sample)
    reserved = config.reserved_tokens
    selected = select_words(list(rest), np.array(list(rest.values())), reserved_tokens=reserved)
    learned = learn_wordpiece(selected, vocab_size=280, reserved_tokens=reserved)
    vocabulary = Vocabulary(tuple(learned.tokens))
    pieces = WordIds(vocabulary)
    total = sum(count * len(pieces[word]) for word, count in words.items())
    marks = [token.startswith("##") for token in learned.tokens]
    continued = sum(
        count * sum(marks[piece] for piece in pieces[word]) for word, count in words.items()
    )
    unknown = sum(count for word, count in words.items() if 1 in pieces[word])
    assert number == len(sample)
    assert held_out["words"] == words.total()
    assert held_out["pieces_per_word"] == pytest.approx(total / words.total(), abs=1e-4)
    assert held_out["continued_share"] == pytest.approx(continued / total, abs=1e-4)
    assert held_out["unknown_rate"] == pytest.approx(unknown / words.total(), abs=1e-6)
    size = sum(len(text.encode()) for text in sample)
    assert held_out["bytes_per_token"] == pytest.approx(size / total, abs=1e-4)
    # The vocabulary itself is learned from all.
    assert (
        run(
            VocabConfig(
                input=config.input, output=str(tmp_path / "b"), vocab_size=280, held_out_fraction=0
            )
        )["vocab.txt"]
        == (tmp_path / "a" / "vocab.txt").read_bytes()
    )


@pytest.mark.parametrize("algorithm", ["wordpiece", "tf_text"])
def test_every_option_of_the_learners_arrives(tmp_path, corpus, texts, algorithm):
    ranked = sorted(words_of(texts).items(), key=lambda item: (-item[1], item[0]))
    words = {word: count for word, count in ranked[:400] if count >= 3}
    selecting = {"max_input_tokens": 400, "max_token_length": 7, "max_unique_chars": 18}
    reserved = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "ka")
    options = {"vocab_size": 240, "num_iterations": 3, "reserved_tokens": reserved}
    bounds = {"upper_thresh": 40, "lower_thresh": 5, "slack_ratio": 0.01}
    config = VocabConfig(
        input=(str(corpus),),
        output=str(tmp_path / "a"),
        algorithm=algorithm,
        min_count=3,
        prune=False,
        suffix_indicator="@@",
        **selecting,
        **options,
        **bounds,
    )
    counts = np.array(list(words.values()))
    selected = select_words(list(words), counts, reserved_tokens=reserved, **selecting)
    if algorithm == "tf_text":
        learned = learn_tf_text(selected, joiner="@@", **options, **bounds)
    else:
        learned = learn_wordpiece(selected, suffix_indicator="@@", prune=False, **options)
    assert run(config)["vocab.txt"].decode().split("\n")[:-1] == learned.tokens
    counted = read_manifest(config.output).counts
    rare = words_of(texts).total() - sum(words.values())
    assert counted["words_dropped_rare"] == rare
    with pytest.raises(UserError, match="suffix_indicator '@@'"):
        load_vocabulary(config.output)


@pytest.mark.parametrize("cap", [None, 1001])
def test_unknown_words_are_counted_named_and_explained(tmp_path, capsys, cap):
    syllables = [chr(0xAC00 + i) for i in range(1200)]
    text = " ".join([c * 2 for c in syllables] * 10 + [syllables[-1]] * 7)
    (tmp_path / "a.txt").write_text(text, "utf-8")
    config = VocabConfig(
        input=(str(tmp_path / "a.txt"),),
        output=str(tmp_path / "v"),
        vocab_size=4400,
        lowercase=False,
        max_unique_chars=cap,
    )
    run(config)
    facts = read_manifest(config.output).facts
    kept = cap or 1100  # half of the vocabulary, plain and continued
    # The commonest character, then the first ones by code point.
    dropped = [c * 2 for c in syllables[kept - 1 : -1]]
    words = 10 * 1200 + 7
    assert facts["alphabet_dropped"] == len(dropped)
    assert facts["unknown"] == {
        "words": 10 * len(dropped),
        "rate": round(10 * len(dropped) / words, 6),
        "most_frequent": dict.fromkeys(dropped[:8], 10),
    }
    said = capsys.readouterr()
    assert f"{dropped[0]} (10), {dropped[1]} (10)" in said.out
    fix = "leave --max_unique_chars 1001 out" if cap else "raise --vocab_size (now 4,400)"
    assert f"lacks {len(dropped)} characters; {fix}" in said.err
    ids = WordIds(Vocabulary.load(tmp_path / "v" / "vocab.txt"))
    assert all(ids[word] == (1,) for word in dropped)


def test_words_over_a_hundred_characters_are_counted_as_dropped(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("ab " * 5 + "é" * 101 + " " + "x" * 100 + "\n" + "y" * 300 + " ab\n", "utf-8")
    config = VocabConfig(input=(str(path),), output=str(tmp_path / "out"), vocab_size=50)
    run(config)
    counts = read_manifest(config.output).counts
    assert counts["words_in"] == 9
    assert counts["words_dropped_over_100_characters"] == 2
    assert counts["words_counted"] == 7
    assert read_manifest(config.output).facts["words_cut"]["too_long"] == 1
