"""WordPiece learners: against the reference, against the number of words, and for quality.

``python -m tests.benchmarks.learn [--json FILE] [--tables reference growth quality]`` from the
repository's root. Times are seconds of processor time of one thread. "reference": tensorflow_text's
learner and ours in turn on the commonest words of IMDB reviews, the quickest of the passes; the
lists must be equal. "growth": made words of Zipf-distributed counts, each size in a process of its
own for its peak memory (``--sizes 5000000`` for the largest). "quality": pieces per word of text
held out (every fifth document or paragraph) of vocabularies learned from the rest, uncased.
"""

from __future__ import annotations

import argparse
import gzip
import importlib.util
import json
import multiprocessing
import os
import resource
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tabulate import tabulate

from pipelines.keyed_random import fold, purpose_key, uniform
from pipelines.text.words import split_words
from pipelines.vocab.config import VocabConfig
from pipelines.vocab.learn import learn_wordpiece
from pipelines.vocab.learn_pieces import learn_pieces
from pipelines.vocab.learn_tf_text import learn_tf_text
from pipelines.vocab.select_words import select_words

RESERVED = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
LEARNERS: dict[str, Callable[..., Any]] = {"wordpiece": learn_wordpiece, "tf_text": learn_tf_text}
Words = tuple[list[str], NDArray[np.int64]]
Row = dict[str, Any]


def data_folder() -> Path:
    named = os.environ.get("BERTMILL_DATA")
    return Path(named) if named else Path(__file__).resolve().parents[3] / "shared" / "data"


def read_texts(name: str) -> list[str]:
    with gzip.open(data_folder() / f"{name}.jsonl.gz") as file:
        return [json.loads(line)["text"] for line in file.read().split(b"\n") if line]


def count(texts: list[str]) -> Words:
    words = Counter(split_words("\n".join(texts), lowercase=True, strip_accents=True))
    return list(words), np.fromiter(words.values(), np.int64)


def learn(algorithm: str, words: list[str], counts: NDArray[np.int64], **options: Any) -> Any:
    selected = select_words(words, counts, reserved_tokens=RESERVED)
    return LEARNERS[algorithm](selected, **options)


def processor_seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    started = time.process_time()
    result = work()
    return time.process_time() - started, result


def load_reference() -> Any:
    """tensorflow_text's learner: one plain Python file, loaded without TensorFlow."""
    package = importlib.util.find_spec("tensorflow_text")
    assert package
    assert package.submodule_search_locations
    folder = Path(package.submodule_search_locations[0]) / "tools" / "wordpiece_vocab"
    path = folder / "wordpiece_tokenizer_learner_lib.py"
    spec = importlib.util.spec_from_file_location("reference", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def compare_with_reference(sizes: list[int], passes: int) -> list[Row]:
    reference = load_reference()
    words, counts = count(read_texts("imdb/train-00000-of-00008"))
    commonest = np.lexsort((np.arange(len(words)), -counts))
    rows = []
    for size in sizes:
        chosen = commonest[:size]
        some, often = [words[i] for i in chosen], counts[chosen]
        pairs = list(zip(some, often.tolist(), strict=True))
        options: Row = {"vocab_size": size // 2, "reserved_tokens": RESERVED}
        theirs, ours = [], []
        for _ in range(passes):
            seconds, expected = processor_seconds(partial(reference.learn, pairs, **options))
            theirs.append(seconds)
            seconds, learned = processor_seconds(partial(learn, "tf_text", some, often, **options))
            ours.append(seconds)
            assert learned.tokens == expected
        rows.append(
            {
                "distinct words": size,
                "vocab_size": size // 2,
                "tokens": len(expected),
                "reference s": min(theirs),
                "tf_text s": min(ours),
                "times as fast": min(theirs) / min(ours),
            }
        )
    return rows


def make_words(number: int) -> Words:
    """Distinct words of one to five made syllables, with counts by Zipf's law."""
    onsets = [*"bcdfghjklmnprstvwz", "th", "st", "ch", "br", "tr"]
    syllables = [a + b + c for a in onsets for b in "aeiouy" for c in ("", "n", "r", "s", "t", "l")]
    found: dict[str, None] = {}
    key = purpose_key(0, "benchmark words")
    start = 0
    while len(found) < number:
        draws = uniform(fold(key, np.arange(start, start + number)[:, None], np.arange(6)))
        # The k-th syllable is the commoner, the smaller k.
        chosen = (len(syllables) ** draws[:, 1:] - 1).astype(np.int64)
        lengths = 1 + (draws[:, 0] * 5).astype(np.int64)
        for row, length in zip(chosen.tolist(), lengths.tolist(), strict=True):
            found["".join([syllables[k] for k in row[:length]])] = None
        start += number
    ranks = np.arange(1, number + 1)
    return list(found)[:number], np.maximum(1, 4 * number / ranks**1.05).astype(np.int64)


def measure_growth(size: int, algorithm: str) -> Row:
    words, counts = make_words(size)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    seconds, learned = processor_seconds(
        lambda: learn(algorithm, words, counts, vocab_size=30522, reserved_tokens=RESERVED)
    )
    return {
        "distinct words": size,
        "characters a word": sum(map(len, words)) / size,
        "algorithm": algorithm,
        "tokens": len(learned.tokens),
        "threshold": learned.threshold,
        "s": seconds,
        "s by the clock": time.perf_counter() - started,
        "us a word": seconds / size * 1e6,
        "peak GB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "words alone GB": before / 2**20,
    }


def compare_growth(sizes: list[int]) -> list[Row]:
    context = multiprocessing.get_context("spawn")
    rows = []
    for size in sizes:
        for algorithm in LEARNERS:
            with context.Pool(1) as pool:
                rows.append(pool.apply(measure_growth, (size, algorithm)))
            print(rows[-1], flush=True)
    return rows


def pieces_per_word(tokens: list[str], words: Words) -> tuple[float, float]:
    """Pieces per word and the share of words that are [UNK], which is one piece."""
    vocabulary = set(tokens)
    pieces = unknown = 0
    for word, often in zip(words[0], words[1].tolist(), strict=True):
        start = number = 0
        while start < len(word):
            mark = "##" if start else ""
            ends = range(len(word), start, -1)
            end = next((end for end in ends if mark + word[start:end] in vocabulary), 0)
            if not end:
                number, unknown = 1, unknown + often
                break
            start, number = end, number + 1
        pieces += number * often
    return pieces / int(words[1].sum()), unknown / int(words[1].sum())


def train_hugging_face(texts: list[str], vocab_size: int) -> list[str]:
    from tokenizers import BertWordPieceTokenizer

    tokenizer = BertWordPieceTokenizer()
    tokenizer.train_from_iterator(
        texts, vocab_size=vocab_size, special_tokens=RESERVED, show_progress=False
    )
    return list(tokenizer.get_vocab())


def compare_quality(corpora: list[str], sizes: list[int]) -> list[Row]:
    rows = []
    for corpus in corpora:
        texts = [line for text in read_texts(corpus) for line in text.split("\n") if line]
        held_out, learning = texts[::5], [text for i, text in enumerate(texts) if i % 5]
        words, unseen = count(learning), count(held_out)
        for size in sizes:
            options: Row = {"vocab_size": size, "reserved_tokens": RESERVED}
            config = VocabConfig(input=(), output="", vocab_size=size)
            pruned = learn_pieces(*words, config)
            hugging_face = train_hugging_face(learning, size)
            published = learn_pieces(*words, replace(config, prune=False))
            ours, unknown = pieces_per_word(pruned.tokens, unseen)
            theirs, their_unknown = pieces_per_word(hugging_face, unseen)
            text = pieces_per_word(learn("tf_text", *words, **options).tokens, unseen)[0]
            rows.append(
                {
                    "corpus": corpus,
                    "vocab_size": size,
                    "wordpiece": ours,
                    "as published": pieces_per_word(published.tokens, unseen)[0],
                    "Hugging Face": theirs,
                    "tf_text": text,
                    "unknown %": 100 * unknown,
                    "HF's unknown %": 100 * their_unknown,
                    "HF's size": len(hugging_face),
                    "fewest": ours <= min(theirs, text),
                }
            )
            print(rows[-1], flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = ["reference", "growth", "quality"]
    parser.add_argument("--tables", nargs="+", choices=names, default=names)
    parser.add_argument("--reference_sizes", type=int, nargs="+", default=[4000, 16_000])
    parser.add_argument("--passes", type=int, default=2)
    parser.add_argument("--sizes", type=int, nargs="+", default=[30_000, 100_000, 300_000])
    corpora = ["imdb/train-00000-of-00008"]
    corpora += [f"multilingual/{language}" for language in ("de", "es", "ja", "ko", "zh")]
    parser.add_argument("--corpora", nargs="+", default=corpora)
    parser.add_argument("--vocab_sizes", type=int, nargs="+", default=[4000, 8000, 16000])
    parser.add_argument("--json", type=Path, help="also write all rows to this file")
    arguments = parser.parse_args()
    tables: dict[str, Callable[[], list[Row]]] = {
        "reference": lambda: compare_with_reference(arguments.reference_sizes, arguments.passes),
        "growth": lambda: compare_growth(arguments.sizes),
        "quality": lambda: compare_quality(arguments.corpora, arguments.vocab_sizes),
    }
    results = {name: tables[name]() for name in arguments.tables}
    for name, rows in results.items():
        print(f"\n{name}\n" + tabulate(rows, headers="keys", floatfmt=".5g"))
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
