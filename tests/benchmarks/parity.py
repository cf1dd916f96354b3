"""Our ids beside those of KerasHub and Transformers, for whichever of them is installed.

python -m tests.benchmarks.parity --vocab runs/vocab --input corpus/*.txt --documents 1000
"""

from __future__ import annotations

import argparse
import importlib
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from itertools import islice, pairwise

from tabulate import tabulate

from pipelines.documents.blocks import read_blocks
from pipelines.documents.config import InputFormat
from pipelines.documents.line_ranges import FileRange
from pipelines.storage import files
from pipelines.text.vocabulary import SPECIAL_TOKENS
from pipelines.text.vocabulary_source import VocabularySource, load_vocabulary
from pipelines.tokenize.encode import Encoder

Tokenize = Callable[[Sequence[str]], list[list[int]]]

_EXAMPLES = 3  # differences shown for each peer
_AROUND = 4  # ids shown on either side of the first difference


def compare_with_peers(texts: Sequence[str], source: VocabularySource) -> Iterator[str]:
    """Lines that say how many documents have the same ids, and where the first others differ."""
    encoder = Encoder(source.vocabulary, source.lowercase, source.strip_accents)
    ids, offsets = encoder.encode(texts)
    ours = [ids[i:j].tolist() for i, j in pairwise(offsets.tolist())]
    table, differences = [], []
    for name, load in (("transformers", _load_transformers), ("keras_hub", _load_keras_hub)):
        try:
            tokenize = load(source)
        except ImportError:
            table.append([name, "not installed", "", ""])
            continue
        theirs = tokenize(texts)
        other = [i for i in range(len(texts)) if ours[i] != theirs[i]]
        equal = len(texts) - len(other)
        version = getattr(importlib.import_module(name), "__version__", "")
        table.append(
            [f"{name} {version}", f"{equal:,}", f"{len(other):,}", f"{equal / len(texts):.3%}"]
        )
        differences += [
            f"{name}, document {i + 1}: {_first_difference(ours[i], theirs[i], source)}"
            for i in other[:_EXAMPLES]
        ]
    yield f"{len(ids):,} tokens"
    headers = ["peer", "documents with equal ids", "other ids", "equal"]
    yield tabulate(table, headers=headers, disable_numparse=True)
    yield from differences


def _first_difference(ours: list[int], theirs: list[int], source: VocabularySource) -> str:
    same = next(
        (i for i, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b),
        min(len(ours), len(theirs)),
    )
    start = max(0, same - _AROUND)

    def pieces(ids: list[int]) -> str:
        return " ".join(source.vocabulary.tokens[i] for i in ids[start : same + _AROUND])

    return f"token {same + 1}: ours “{pieces(ours)}”, theirs “{pieces(theirs)}”"


def _load_transformers(source: VocabularySource) -> Tokenize:
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # "Sequence longer than 512" is no news here.
    logging.getLogger("transformers").setLevel(logging.ERROR)
    transformers = importlib.import_module("transformers")
    tokenizer = transformers.BertTokenizer(
        vocab=dict(source.vocabulary.index),
        do_lower_case=source.lowercase,
        strip_accents=source.strip_accents,
    )

    def tokenize(texts: Sequence[str]) -> list[list[int]]:
        # "[MASK]" in a document is plain text.
        options = {"add_special_tokens": False, "split_special_tokens": True}
        return list(tokenizer(list(texts), **options)["input_ids"])

    return tokenize


def _load_keras_hub(source: VocabularySource) -> Tokenize:
    # Its tokenizers run on TensorFlow whatever the backend.
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    keras_hub = importlib.import_module("keras_hub")
    tokenizer = keras_hub.tokenizers.WordPieceTokenizer(
        vocabulary=list(source.vocabulary.tokens),
        lowercase=source.lowercase,
        strip_accents=source.strip_accents,
        suffix_indicator=source.vocabulary.suffix_indicator,
        special_tokens=[t for t in SPECIAL_TOKENS if t in source.vocabulary.index],
    )
    return lambda texts: [[int(i) for i in tokenizer(text)] for text in texts]


def read_texts(patterns: Sequence[str], options: InputFormat) -> Iterator[str]:
    """The documents of all files that match."""
    for info in files.match(patterns):
        for block in read_blocks(FileRange(info.path), options):
            yield from block.texts()


def main() -> None:
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--vocab", required=True, help="a vocab.txt, or a folder with one")
    parser.add_argument("--input", nargs="+", required=True, help="files of documents")
    parser.add_argument("--input_format", default="auto")
    parser.add_argument("--text_field", default="text")
    parser.add_argument("--documents", type=int, default=1000, help="how many to compare")
    arguments = parser.parse_args()
    texts = read_texts(
        arguments.input,
        InputFormat(input_format=arguments.input_format, text_field=arguments.text_field),
    )
    source = load_vocabulary(arguments.vocab, None, None)
    for line in compare_with_peers(list(islice(texts, arguments.documents)), source):
        print(line)


if __name__ == "__main__":
    main()
