"""Text to ids: the raw TensorFlow Text kernel, this project's encoder and Hugging Face, in turn.

``python tests/benchmarks/encode.py [--json FILE]`` from the repository's root. All take the same
blocks of wiki_en, one thread, round after round; the figure is the median round. The raw kernel is
``FastBertTokenizer`` lower-casing by itself, on the same strings: not exact. "MB/CPU s" is by the
process's CPU time, which other work on the machine hardly changes. Then, for each corpus, for how
many documents Hugging Face gives other ids.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from tabulate import tabulate

from pipelines.documents.blocks import make_block
from pipelines.text.vocabulary import Vocabulary
from pipelines.text.words import split_words
from pipelines.tokenize.encode import Encoder, encode_plainly

BLOCK_BYTES = 1 << 19
CORPORA = ["wiki_en/wiki-00001-of-00004", "imdb/train-00000-of-00008", "gutenberg/books"]
CORPORA += [f"multilingual/{language}" for language in ("de", "es", "ja", "ko", "zh")]


def read_texts(path: Path, total_bytes: int) -> Iterator[str]:
    with gzip.open(path, "rt", encoding="utf-8", newline="\n") as lines:
        for line in lines:
            text = json.loads(line)["text"]
            yield text
            total_bytes -= len(text.encode())
            if total_bytes <= 0:
                return


def make_blocks(texts: Iterator[str]) -> list[list[str]]:
    blocks: list[list[str]] = [[]]
    size = 0
    for text in texts:
        blocks[-1].append(text)
        size += len(text.encode())
        if size >= BLOCK_BYTES:
            blocks.append([])
            size = 0
    return [block for block in blocks if block]


def hugging_face(vocabulary: Vocabulary, lower: bool) -> Any:
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    from tokenizers import Tokenizer
    from tokenizers.models import WordPiece
    from tokenizers.normalizers import BertNormalizer
    from tokenizers.pre_tokenizers import BertPreTokenizer

    tokenizer = Tokenizer(WordPiece(vocabulary.index, unk_token="[UNK]"))
    tokenizer.normalizer = BertNormalizer(lowercase=lower)
    tokenizer.pre_tokenizer = BertPreTokenizer()
    return tokenizer


def measure_rates(data: Path, megabytes: float, rounds: int) -> list[dict[str, Any]]:
    import tensorflow as tf
    from tensorflow_text import FastBertTokenizer

    vocabulary = Vocabulary.load(data / "vocab" / "bert-base-uncased-vocab.txt")
    texts = make_blocks(read_texts(data / f"{CORPORA[0]}.jsonl.gz", int(megabytes * 1e6)))
    blocks = [make_block([text.encode() for text in block]) for block in texts]
    size = sum(len(block.text) for block in blocks)
    kernel = FastBertTokenizer(
        list(vocabulary.tokens), token_out_type=tf.int32, lower_case_nfd_strip_accents=True
    )
    encoder, theirs = Encoder(vocabulary, True, True), hugging_face(vocabulary, True)
    few = max(1, len(blocks) // 8)  # the slow ones take a part and are scaled

    def run_theirs() -> None:
        for block in texts[:few]:
            for encoding in theirs.encode_batch_fast(block):
                np.array(encoding.ids, np.int32)

    plain = Encoder(vocabulary, True, True)
    plain._engine = encode_plainly(plain), False

    def run_plain() -> None:
        for block in blocks[:few]:
            plain.encode_block(block.text, block.offsets)

    def run_splitter() -> list[list[str]]:
        return [
            split_words("\n".join(block), lowercase=True, strip_accents=True) for block in texts
        ]

    whole, part = size, sum(len(block.text) for block in blocks[:few])
    runs: dict[str, tuple[int, Callable[[], Any]]] = {
        "raw kernel (not exact)": (
            whole,
            lambda: [kernel.tokenize(block).flat_values.numpy() for block in texts],
        ),
        "encoder": (whole, lambda: [encoder.encode_block(b.text, b.offsets) for b in blocks]),
        "encoder, from str": (whole, lambda: [encoder.encode(block) for block in texts]),
        "encoder without nanotoken (words known)": (part, run_plain),
        "Hugging Face tokenizers": (part, run_theirs),
        "splitting into words": (whole, run_splitter),
        "counting words": (whole, lambda: [Counter(words) for words in run_splitter()]),
    }
    wall: dict[str, list[float]] = {name: [] for name in runs}
    used: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds + 1):
        for name, (count, run) in runs.items():
            start, cpu = time.perf_counter(), time.process_time()
            run()
            if number:  # the first round warms up
                wall[name].append(count / (time.perf_counter() - start) / 1e6)
                used[name].append(count / (time.process_time() - cpu) / 1e6)
    base = statistics.median(used["raw kernel (not exact)"])
    return [
        {
            "what": name,
            "MB/s": statistics.median(wall[name]),
            "MB/CPU s": statistics.median(used[name]),
            "of the raw kernel (CPU)": statistics.median(used[name]) / base,
        }
        for name in runs
    ]


def measure_parity(data: Path, megabytes: float) -> list[dict[str, Any]]:
    rows = []
    for corpus in CORPORA:
        english = not corpus.startswith("multilingual")
        for file, lower in (
            ("bert-base-uncased", True),
            ("bert-base-cased" if english else "bert-base-multilingual-cased", False),
        ):
            vocabulary = Vocabulary.load(data / "vocab" / f"{file}-vocab.txt")
            encoder, theirs = Encoder(vocabulary, lower, lower), hugging_face(vocabulary, lower)
            documents, different, size, tokens = 0, 0, 0, 0
            texts = read_texts(data / f"{corpus}.jsonl.gz", int(megabytes * 1e6))
            while block := list(islice(texts, 32)):
                ids, offsets = encoder.encode(block)
                documents += len(block)
                tokens += len(ids)
                size += sum(len(text.encode()) for text in block)
                for i, encoding in enumerate(theirs.encode_batch_fast(block)):
                    ours = ids[offsets[i] : offsets[i + 1]]
                    different += not np.array_equal(ours, np.array(encoding.ids, np.int32))
            rows.append(
                {
                    "corpus": corpus,
                    "vocabulary": file,
                    "MB": size / 1e6,
                    "documents": documents,
                    "other ids": different,
                    "tokens": tokens,
                }
            )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    data = Path(os.environ.get("BERTMILL_DATA", "../shared/data"))
    parser.add_argument("--data", type=Path, default=data, help="folder with the test data")
    parser.add_argument("--megabytes", type=float, default=16, help="of wiki_en a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--parity_megabytes", type=float, default=2, help="of each corpus; 0: none")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    arguments = parser.parse_args()
    rates = measure_rates(arguments.data, arguments.megabytes, arguments.rounds)
    print(tabulate(rates, headers="keys", floatfmt=".2f"), "\n")
    parity = (
        measure_parity(arguments.data, arguments.parity_megabytes)
        if arguments.parity_megabytes
        else []
    )
    print(tabulate(parity, headers="keys", floatfmt=".1f"))
    if arguments.json:
        arguments.json.write_text(json.dumps({"rates": rates, "parity": parity}, indent=1))


if __name__ == "__main__":
    main()
