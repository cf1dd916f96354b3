"""Text to packed rows, end to end, beside Hugging Face ``datasets.map`` + ``tokenizers``.

``python -m tests.benchmarks.tokenize_pipeline --input FILES --vocab vocab.txt [--json FILE]`` from
the repository's root. Both are whole commands in fresh processes, start-up included, with the same
number of workers, over the same jsonl files, taken in turn. The peer does what Hugging Face's
run_mlm example does: tokenize, join, cut into rows of seq_length, save. Besides the whole command
the marginal rate is given: the time of ``--times`` copies of the text (made distinct) minus the time
of one, so that start-up does not count; and start-up itself, the time of a corpus of one document.
With all of wiki_en, one and four copies are 102 and 408 MB.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tabulate import tabulate

from pipelines.documents.blocks import FileRange, read_blocks
from pipelines.documents.config import InputFormat
from pipelines.storage import files


def write_copies(patterns: list[str], folder: Path, times: int) -> int:
    """Writes the text ``times`` times, each copy's documents changed. Returns bytes of text."""
    total = 0
    folder.mkdir()
    for copy in range(times):
        for number, info in enumerate(files.match(patterns)):
            with open(folder / f"{copy}-{number}.jsonl", "w", encoding="utf-8") as out:
                for block in read_blocks(FileRange(info.path), InputFormat()):
                    for text in block.texts():
                        # Another first word: documents differ, and so do their keys.
                        changed = f"Copy{copy} {text}" if copy else text
                        total += len(changed.encode())
                        out.write(json.dumps({"text": changed}, ensure_ascii=False) + "\n")
    return total


def run_ours(corpus: Path, vocab: str, output: Path, workers: int, seq_length: int) -> None:
    subprocess.run(
        [
            *(sys.executable, "-m", "pipelines.tokenize", "--input", str(corpus)),
            *("--vocab", vocab, "--lowercase", "true", "--output", str(output)),
            *("--seq_length", str(seq_length), f"--direct_num_workers={workers}"),
        ],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def run_peer(corpus: Path, vocab: str, output: Path, workers: int, seq_length: int) -> None:
    environment = {
        **os.environ,
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_CACHE": str(output.parent / "cache"),
        # Worker processes are the peer's parallelism, as in its own example.
        "TOKENIZERS_PARALLELISM": "false",
    }
    arguments = [str(corpus), vocab, str(output), str(workers), str(seq_length)]
    subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.tokenize_pipeline", "--peer", *arguments],
        check=True,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def peer(corpus: str, vocab: str, output: str, workers: str, seq_length: str) -> None:
    """The peer's process."""
    from datasets import load_dataset
    from tokenizers import BertWordPieceTokenizer

    tokenizer = BertWordPieceTokenizer(vocab, lowercase=True)
    length = int(seq_length)

    def tokenize(batch: dict[str, list[str]]) -> dict[str, list[list[int]]]:
        return {"input_ids": [encoding.ids for encoding in tokenizer.encode_batch(batch["text"])]}

    def group(batch: dict[str, list[list[int]]]) -> dict[str, list[list[int]]]:
        joined = [token for ids in batch["input_ids"] for token in ids]
        starts = range(0, len(joined) - length + 1, length)
        return {"input_ids": [joined[start : start + length] for start in starts]}

    paths = sorted(str(path) for path in Path(corpus).iterdir())
    dataset = load_dataset("json", data_files=paths, split="train")
    options: dict[str, Any] = {"batched": True, "num_proc": int(workers)}
    dataset = dataset.map(tokenize, remove_columns=dataset.column_names, **options)
    dataset.map(group, **options).save_to_disk(output)


def timed(run: Any, corpus: Path, vocab: str, work: Path, workers: int, seq_length: int) -> float:
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    begin = time.perf_counter()
    run(corpus, vocab, work / "output", workers, seq_length)
    return time.perf_counter() - begin


def main() -> None:
    if sys.argv[1:2] == ["--peer"]:
        peer(*sys.argv[2:])
        return
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--input", nargs="+", required=True, help="jsonl files with a field text")
    parser.add_argument("--vocab", required=True, help="a vocab.txt (lower case)")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--seq_length", type=int, default=512)
    parser.add_argument("--times", type=int, default=4, help="copies in the larger corpus")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--json", help="also write the figures to this file")
    options = parser.parse_args()
    contestants = {"bertmill": run_ours, "datasets.map + tokenizers": run_peer}
    seconds: dict[tuple[str, int], list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        sizes = {
            times: write_copies(options.input, work / f"corpus-{times}", times)
            for times in (1, options.times)
        }
        (work / "corpus-0").mkdir()
        (work / "corpus-0" / "one.jsonl").write_text(json.dumps({"text": "word " * 1000}) + "\n")
        sizes = {0: 5000, **sizes}
        for _ in range(options.rounds):
            for times in sizes:
                for name, run in contestants.items():
                    took = timed(
                        run,
                        work / f"corpus-{times}",
                        options.vocab,
                        work / "run",
                        options.workers,
                        options.seq_length,
                    )
                    seconds.setdefault((name, times), []).append(took)
                    print(f"{name}, {sizes[times] / 1e6:.0f} MB: {took:.1f} s", file=sys.stderr)
    median = {key: statistics.median(values) for key, values in seconds.items()}
    table = []
    for what, amount, cost in (
        *(
            (f"whole command, {size / 1e6:.0f} MB", size, lambda name, t=times: median[name, t])
            for times, size in sizes.items()
            if times
        ),
        (
            "marginal",
            sizes[options.times] - sizes[1],
            lambda name: median[name, options.times] - median[name, 1],
        ),
    ):
        rates = {name: amount / cost(name) / 1e6 for name in contestants}
        ours, theirs = rates.values()
        table.append(
            {
                "what": what,
                **{f"{name}, MB/s": round(rate, 2) for name, rate in rates.items()},
                "ratio": round(ours / theirs, 2),
            }
        )
    start_up = {name: round(median[name, 0], 1) for name in contestants}
    print(tabulate(table, headers="keys"))
    print("start-up, s:", ", ".join(f"{name} {took}" for name, took in start_up.items()))
    if options.json:
        Path(options.json).write_text(
            json.dumps({"table": table, "start-up, s": start_up, "workers": options.workers})
        )


if __name__ == "__main__":
    main()
