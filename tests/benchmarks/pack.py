"""Fill and speed of packing real text, beside what people write in Python.

``python -m tests.benchmarks.pack [--json FILE]`` from the repository's root. Documents of each
corpus, tokenized with BERT's uncased vocabulary, are dealt to 8 shards by key; fill is over all
shards, speed from the quickest of three passes over each, per second of processor time of the one
thread (pairs: finding the sentences included). The peers run on the first shard, once: "chunk"
concatenates all and cuts every seq_length - 2 tokens, as Hugging Face's run_mlm example does;
"first fit" puts each segment of the first 1,500 documents into the first row with room for it.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from tabulate import tabulate

from pipelines.keyed_random import fold, purpose_key
from pipelines.records.ragged import Columns, Ragged, offsets_of, row_count
from pipelines.tokenize.config import TokenizeConfig
from pipelines.tokenize.pack import pack_rows
from pipelines.tokenize.sentences import find_sentences, mark_vocabulary

SHARDS = 8
CLS, SEP = 101, 102
KINDS: dict[str, dict[str, Any]] = {
    "documents": {"packing": "documents"},
    "documents, split_to_fill": {"packing": "documents", "split_to_fill": True},
    "full": {"packing": "full"},
    "pairs": {"packing": "pairs"},
}


def data_folder() -> Path:
    named = os.environ.get("BERTMILL_DATA")
    return Path(named) if named else Path(__file__).resolve().parents[3] / "shared" / "data"


def read_vocabulary() -> list[str]:
    path = data_folder() / "vocab" / "bert-base-uncased-vocab.txt"
    return path.read_text("utf-8").removesuffix("\n").split("\n")


def tokenize_corpus(corpus: str, vocabulary: list[str]) -> Ragged:
    import tensorflow_text

    texts = []
    for path in sorted((data_folder() / corpus).glob("*.jsonl.gz")):
        with gzip.open(path) as file:
            texts += [json.loads(line)["text"] for line in file.read().split(b"\n") if line]
    tokenizer = tensorflow_text.FastBertTokenizer(vocabulary, lower_case_nfd_strip_accents=True)
    blocks = [tokenizer.tokenize(texts[i : i + 1000]) for i in range(0, len(texts), 1000)]
    lengths = np.concatenate([block.row_lengths().numpy() for block in blocks])
    ids = [block.flat_values.numpy().astype(np.uint16) for block in blocks]
    return Ragged(np.concatenate(ids), offsets_of(lengths))


def deal(documents: Ragged) -> list[tuple[Ragged, np.ndarray]]:
    """The documents of each shard and their doc_ids, in key order."""
    doc_ids = fold(purpose_key(0, "benchmark"), np.arange(len(documents)))
    shards = []
    for shard in range(SHARDS):
        chosen = np.flatnonzero(doc_ids % np.uint64(SHARDS) == shard)
        chosen = chosen[np.argsort(doc_ids[chosen])]
        shards.append((documents.take(chosen), doc_ids[chosen]))
    return shards


def quickest(work: Callable[[], Any], passes: int = 3) -> tuple[float, Any]:
    """The seconds of the quickest of several passes and the result of the last."""
    seconds = []
    for _ in range(passes):
        begin = time.thread_time()
        result = work()
        seconds.append(time.thread_time() - begin)
    return min(seconds), result


def pack_shard(
    documents: Ragged, doc_ids: np.ndarray, config: TokenizeConfig, marks: np.ndarray
) -> tuple[Columns, Counter[str]]:
    sentences = find_sentences(documents, marks) if config.packing == "pairs" else None
    occurrence = np.zeros(len(documents), np.int64)
    table: Columns = {"token_ids": documents, "doc_ids": doc_ids, "occurrence": occurrence}
    return pack_rows(table, config, cls_id=CLS, sep_id=SEP, sentences=sentences)


def measure(
    shards: list[tuple[Ragged, np.ndarray]], seq_length: int, marks: np.ndarray, kind: str
) -> dict[str, Any]:
    config = TokenizeConfig(input=(), vocab="", output="", seq_length=seq_length, **KINDS[kind])
    counts: Counter[str] = Counter()
    seconds, cut = 0.0, 0
    for documents, doc_ids in shards:
        best, (columns, packed) = quickest(partial(pack_shard, documents, doc_ids, config, marks))
        seconds += best
        counts.update(packed, tokens_in=len(documents.values), rows=row_count(columns))
        ids, pieces = np.unique(columns["doc_ids"].values, return_counts=True)
        fitting = doc_ids[documents.lengths <= seq_length - 2]
        cut += int(np.isin(ids[pieces > 1], fitting).sum())
    used = counts["tokens_out"] + counts["special_tokens"]
    return {
        "packing": kind,
        "fill": used / (counts["rows"] * seq_length),
        "segments": counts["segments"],
        "rows": counts["rows"],
        "fitting documents cut": "" if kind == "pairs" else cut,
        "tokens dropped": counts["tokens_in"] - counts["tokens_out"],
        "segments/s": counts["segments"] / seconds,
        "tokens/s": counts["tokens_in"] / seconds,
    }


def chunk(documents: list[list[int]], seq_length: int) -> list[list[int]]:
    """Concatenate, cut, drop the rest."""
    stream = [token for document in documents for token in document]
    size = seq_length - 2
    return [[CLS, *stream[at : at + size], SEP] for at in range(0, len(stream) - size + 1, size)]


def first_fit(documents: list[list[int]], seq_length: int) -> list[list[int]]:
    """Each segment into the first row with room for it."""
    rows: list[list[int]] = []
    size = seq_length - 2
    first_open = 0
    for document in documents:
        for at in range(0, len(document), size):
            segment = [CLS, *document[at : at + size], SEP]
            while first_open < len(rows) and len(rows[first_open]) > seq_length - 3:
                first_open += 1
            for row in rows[first_open:]:
                if len(row) + len(segment) <= seq_length:
                    row.extend(segment)
                    break
            else:
                rows.append(segment)
    return rows


def measure_peer(documents: Ragged, seq_length: int, name: str, peer: Callable) -> dict[str, Any]:
    lists = [documents.values[a:b].tolist() for a, b in pairwise(documents.offsets)]
    seconds, rows = quickest(lambda: peer(lists, seq_length), passes=1)
    segments = sum(row.count(CLS) for row in rows)
    return {
        "packing": f"peer: {name}",
        "fill": sum(map(len, rows)) / (len(rows) * seq_length),
        "segments": segments,
        "rows": len(rows),
        "segments/s": segments / seconds,
        "tokens/s": sum(map(len, lists)) / seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--corpora", nargs="+", default=["imdb", "wiki_en"])
    parser.add_argument("--seq_lengths", nargs="+", type=int, default=[128, 256, 512])
    arguments = parser.parse_args()
    vocabulary = read_vocabulary()
    marks = mark_vocabulary(tuple(vocabulary))
    figures = []
    for corpus in arguments.corpora:
        shards = deal(tokenize_corpus(corpus, vocabulary))
        for seq_length in arguments.seq_lengths:
            lines = [measure(shards, seq_length, marks, kind) for kind in KINDS]
            one = shards[0][0]
            lines.append(measure_peer(one, seq_length, "chunk", chunk))
            some = one.take(np.arange(min(1500, len(one))))
            lines.append(measure_peer(some, seq_length, "first fit", first_fit))
            figures += [{"corpus": corpus, "seq_length": seq_length} | line for line in lines]
    shown = [
        line
        | {"fill": f"{line['fill']:.3%}"}
        | {key: f"{line[key]:,.0f}" for key in ("segments/s", "tokens/s")}
        for line in figures
    ]
    print(tabulate(shown, headers="keys", disable_numparse=True))
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
