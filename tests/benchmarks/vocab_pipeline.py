"""Text to a vocabulary, end to end, beside Hugging Face's ``BertWordPieceTokenizer.train``.

``python -m tests.benchmarks.vocab_pipeline --input FILES [--rounds 3] [--json FILE]`` from the
repository's root. Both are whole commands in fresh processes, start-up included, on all cores, with
their defaults, taken in turn: ours reads the jsonl files, the peer the same documents as plain text
(what it can read), written before.
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

from tabulate import tabulate

from pipelines.documents.blocks import FileRange, read_blocks
from pipelines.documents.config import InputFormat
from pipelines.storage import files

_SIZE = 30522


def write_plain(patterns: list[str], folder: Path) -> int:
    """Writes the documents as plain text files. Returns bytes of text."""
    total = 0
    for number, info in enumerate(files.match(patterns)):
        with open(folder / f"{number}.txt", "wb") as out:
            for block in read_blocks(FileRange(info.path), InputFormat()):
                for text in block.texts():
                    total += len(text.encode())
                    out.write(text.encode() + b"\n")
    return total


def run_ours(patterns: list[str], folder: Path, output: Path) -> None:
    subprocess.run(
        [
            *(sys.executable, "-m", "pipelines.vocab", "--input", *patterns),
            *("--output", str(output), "--vocab_size", str(_SIZE)),
        ],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def run_peer(patterns: list[str], folder: Path, output: Path) -> None:
    program = (
        "import sys; from tokenizers import BertWordPieceTokenizer\n"
        "tokenizer = BertWordPieceTokenizer()\n"
        f"tokenizer.train(sys.argv[2:], vocab_size={_SIZE}, show_progress=False)\n"
        "tokenizer.save_model(sys.argv[1])\n"
    )
    output.mkdir()
    subprocess.run(
        [sys.executable, "-c", program, str(output), *map(str, sorted(folder.iterdir()))],
        check=True,
        env={**os.environ, "TOKENIZERS_PARALLELISM": "true"},
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--input", nargs="+", required=True, help="jsonl files with a field text")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", help="also write the figures to this file")
    options = parser.parse_args()
    contestants = {"bertmill": run_ours, "BertWordPieceTokenizer.train": run_peer}
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    with tempfile.TemporaryDirectory() as work:
        plain, output = Path(work, "plain"), Path(work, "output")
        plain.mkdir()
        size = write_plain(options.input, plain)
        for _ in range(options.rounds):
            for name, run in contestants.items():
                shutil.rmtree(output, ignore_errors=True)
                begin = time.perf_counter()
                run(options.input, plain, output)
                seconds[name].append(time.perf_counter() - begin)
                print(f"{name}: {seconds[name][-1]:.1f} s", file=sys.stderr)
    rates = {name: size / statistics.median(took) / 1e6 for name, took in seconds.items()}
    ours, theirs = rates.values()
    row = {"MB": round(size / 1e6), **{f"{name}, MB/s": rate for name, rate in rates.items()}}
    row["ratio"] = ours / theirs
    print(tabulate([row], headers="keys", floatfmt=".2f"))
    if options.json:
        Path(options.json).write_text(json.dumps({"table": [row], "seconds": seconds}))


if __name__ == "__main__":
    main()
