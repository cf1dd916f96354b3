"""Near-duplicates found, and signatures made a second, beside datasketch on the same tokens.

    python -m tests.benchmarks.near_duplicates --input wiki-*.jsonl --vocab vocab.txt

Copies of documents in which 1, 5, 10 and 20 % of the words are replaced are planted. What is alike is
decided by the exact Jaccard similarity of runs of 5 tokens.
"""

from __future__ import annotations

import argparse
import itertools
import time
import tracemalloc
from collections import defaultdict

import numpy as np
from tabulate import tabulate

from pipelines.documents.blocks import FileRange, read_blocks
from pipelines.documents.config import InputFormat
from pipelines.records.ragged import Ragged, take
from pipelines.storage import files
from pipelines.text.vocabulary_source import load_vocabulary
from pipelines.tokenize.encode import Encoder
from pipelines.tokenize.find_near_duplicates import parts_of_bands
from pipelines.tokenize.near_duplicates import link_alike, sign_documents
from pipelines.tokenize.signatures import HASHES, SHINGLE, band_length

_RATES = (0.01, 0.05, 0.1, 0.2)
_PLANTED = 400  # of each rate
_ROUNDS = 2
Pairs = set[tuple[int, int]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--input", nargs="+", required=True)
    parser.add_argument("--vocab", required=True)
    parser.add_argument("--megabytes", type=float, default=100, help="of text, for the rates")
    parser.add_argument("--bands", type=int, default=20)
    arguments = parser.parse_args()
    source = load_vocabulary(arguments.vocab)
    encoder = Encoder(source.vocabulary, source.lowercase, source.strip_accents)
    texts = _read_texts(arguments.input, arguments.megabytes)
    _print_curve(arguments.bands)
    _print_found(texts, encoder, arguments.bands)
    _print_rates(texts, encoder, arguments.bands)
    _print_memory(arguments.bands)


def _read_texts(patterns: list[str], megabytes: float) -> list[str]:
    texts: list[str] = []
    size = 0
    for info in files.match(patterns):
        for block in read_blocks(FileRange(info.path), InputFormat()):
            texts += block.texts()
            size += len(block.text)
            if size > megabytes * 1e6:
                return texts
    return texts


def _encode(texts: list[str], encoder: Encoder) -> Ragged:
    ids, offsets = encoder.encode(texts)
    return Ragged(ids.astype(np.uint16), offsets)


def _print_curve(bands: int) -> None:
    similarities = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
    rows = []
    for threshold in (0.5, 0.6, 0.7, 0.8, 0.9):
        length = band_length(threshold, bands)
        caught = [1 - (1 - s**length) ** bands for s in similarities]
        rows.append([threshold, f"{bands} x {length}", *(f"{share:.1%}" for share in caught)])
    headers = ["--near_similarity", "bands x places", *map(str, similarities)]
    print("candidates by true similarity, before they are compared:")
    print(tabulate(rows, headers, "github", disable_numparse=True))


def _print_found(texts: list[str], encoder: Encoder, bands: int) -> None:
    random = np.random.default_rng(0)
    words = [word for text in texts[:200] for word in text.split()]
    long = [text for text in texts if len(text.split()) >= 100][: _PLANTED * len(_RATES)]
    documents, rates = [*long], {}
    for number, text in enumerate(long):
        edited = text.split()
        rate = _RATES[number % len(_RATES)]
        for place in np.flatnonzero(random.random(len(edited)) < rate):
            edited[place] = words[random.integers(len(words))]
        rates[(number, len(documents))] = rate
        documents.append(" ".join(edited))
    tokens = _encode(documents, encoder)
    runs = [_runs_of(tokens, i) for i in range(len(tokens))]
    exact = {pair: _jaccard(runs, pair) for pair in rates}
    rows = []
    for threshold in (0.5, 0.7, 0.9):
        found = {
            "bertmill": _find(tokens, threshold, bands),
            "datasketch": _find_by_datasketch(runs, threshold),
        }
        for name, pairs in found.items():
            wrong = [p for p in pairs if exact.get(p, -1) < threshold]
            wrong = [p for p in wrong if _jaccard(runs, p) < threshold]
            alike = [p for p in exact if exact[p] >= threshold]
            by_rate = [
                f"{np.mean([p in pairs for p in rates if rates[p] == rate]):.1%}" for rate in _RATES
            ]
            recall = np.mean([p in pairs for p in alike])
            precision = 1 - len(wrong) / max(1, len(pairs))
            rows.append([name, threshold, *by_rate, f"{recall:.1%}", f"{precision:.1%}"])
    means = [f"{np.mean([exact[p] for p in rates if rates[p] == rate]):.2f}" for rate in _RATES]
    rows.append(["(exact similarity, mean)", "", *means, "", ""])
    edits = [f"{rate:.0%} edited" for rate in _RATES]
    print(f"\nof {len(long)} planted pairs:")
    headers = ["", "threshold", *edits, "recall above it", "precision"]
    print(tabulate(rows, headers, "github", disable_numparse=True))


def _runs_of(tokens: Ragged, document: int) -> set[bytes]:
    values = tokens.values[tokens.offsets[document] : tokens.offsets[document + 1]]
    count = max(1, len(values) - SHINGLE + 1)
    return {values[i : i + SHINGLE].tobytes() for i in range(count)}


def _jaccard(runs: list[set[bytes]], pair: tuple[int, int]) -> float:
    left, right = runs[pair[0]], runs[pair[1]]
    return len(left & right) / len(left | right)


def _sign(tokens: Ragged, threshold: float, bands: int) -> dict[str, np.ndarray]:
    doc_ids = np.arange(len(tokens), dtype=np.uint64)
    return sign_documents({"token_ids": tokens, "doc_ids": doc_ids}, threshold, bands)


def _find(tokens: Ragged, threshold: float, bands: int) -> Pairs:
    signed = _sign(tokens, threshold, bands)
    keys = signed.pop("keys")
    rows = np.arange(keys.size) // keys.shape[1]
    links = link_alike({"key": keys.reshape(-1), **take(signed, rows)}, threshold)
    pairs = zip(links["at"].tolist(), links["other"].tolist(), strict=True)
    return {(a, b) for a, b in pairs if a < b}


def _find_by_datasketch(runs: list[set[bytes]], threshold: float) -> Pairs:
    from datasketch import MinHashLSH

    index = MinHashLSH(threshold, num_perm=HASHES)
    groups = defaultdict(list)
    for number, of_document in enumerate(runs):
        signature = _datasketch_signature(of_document)
        for other in index.query(signature):
            groups[number].append(other)
        index.insert(number, signature)
    return {(other, number) for number, others in groups.items() for other in others}


def _datasketch_signature(runs: set[bytes]) -> object:
    from datasketch import MinHash

    signature = MinHash(num_perm=HASHES)
    signature.update_batch(runs)
    return signature


def _print_rates(texts: list[str], encoder: Encoder, bands: int) -> None:
    """By processor time, one thread; tokens are at hand, as in the stage."""
    megabytes = sum(len(text.encode()) for text in texts) / 1e6
    tokens = _encode(texts, encoder)
    bounds = [*range(0, len(tokens), 64), len(tokens)]
    blocks = [tokens.take(np.arange(a, b)) for a, b in itertools.pairwise(bounds)]
    seconds: dict[str, list[float]] = {"bertmill": [], "datasketch": []}
    for _ in range(_ROUNDS):
        began = time.process_time()
        for block in blocks:
            _sign(block, 0.7, bands)
        seconds["bertmill"].append(time.process_time() - began)
        began = time.process_time()
        for block in blocks:
            for document in range(len(block)):
                _datasketch_signature(_runs_of(block, document))
        seconds["datasketch"].append(time.process_time() - began)
    ours, theirs = (min(seconds[name]) for name in ("bertmill", "datasketch"))
    ratios = [b / a for a, b in zip(*seconds.values(), strict=True)]
    print(f"\nsignatures of {megabytes:.0f} MB, one thread:")
    print(f"bertmill {megabytes / ours:.1f} MB/s, datasketch {megabytes / theirs:.2f} MB/s")
    print("ratios, round by round: " + ", ".join(f"{ratio:.0f}" for ratio in ratios))


def _print_memory(bands: int) -> None:
    """The largest step of a terabyte in 830 shards: the entries of one of their parts, compared."""
    documents, parts = 250_000_000, parts_of_bands(830)
    entries = documents * bands // parts
    random = np.random.default_rng(0)
    rows = []
    for kind in ("a fifth in pairs", "all in one band"):
        doc_ids = random.integers(0, 1 << 63, entries).astype(np.uint64)
        key = random.integers(0, 1 << 63, entries).astype(np.uint64)
        packed = random.integers(0, 256, (entries, HASHES // 4)).astype(np.uint8)
        pairs = entries // 10
        key[:pairs], packed[:pairs] = key[pairs : 2 * pairs], packed[pairs : 2 * pairs]
        if kind == "all in one band":
            key[:], packed[:] = 7, packed[0]
        size = doc_ids.nbytes + key.nbytes + packed.nbytes
        table = {"key": key, "doc_ids": doc_ids, "packed": packed}
        tracemalloc.start()
        began = time.process_time()
        links = link_alike(table, 0.7)
        seconds = time.process_time() - began
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        sizes = [f"{amount / 1e6:.0f} MB" for amount in (size, peak)]
        found = f"{len(links['at']) // 2:,}"
        rows.append([kind, f"{entries:,}", *sizes, found, f"{seconds:.1f} s"])
    headers = ["documents", "entries of a part", "its table", "beside it", "links", "time"]
    print(f"\n1 TB, {documents:,} documents, {parts:,} parts:")
    print(tabulate(rows, headers, "github", disable_numparse=True))


if __name__ == "__main__":
    main()
