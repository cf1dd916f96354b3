"""Peak memory of every step of the pipelines, at the size that one of many workers has it.

``python -m tests.benchmarks.scale [--terabytes 1] [--steps NAME …] [--json FILE]`` from the
repository's root. Each step is the pipelines' own code on made-up words and ids, for one key, in a
process of its own, whose memory (without pages of files) is read every few milliseconds. A worker does
one such step at a time on each of its cores.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import re
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path

from tabulate import tabulate

from tests.benchmarks import scale_moving_steps, scale_steps, scale_vocab_steps

_STEPS = {
    "vocab: count words in a worker": "count_in_a_worker",
    "vocab: add up one partition": "add_a_partition",
    "vocab: merge four cut tables": "merge_frequent",
    "vocab: gather what is learned from": "gather_frequent",
    "vocab: learn from 5 million words": "learn",
    "tokenize: encode and cut by shard": "tokenize_in_a_worker",
    "tokenize: write a shard of documents": "write_a_shard",
    "tokenize: cut 400 MB of text by shard, send and join it": "move_documents",
    "tokenize: link near-duplicates of a part": "link_a_part",
    "tokenize: tie near-duplicates of a part": "tie_a_part",
    "mask: that shard": "mask_a_shard",
    "tokenize: write a shard of examples of 25 tokens": "write_a_shard_of_examples",
    "all: add up what was counted": "publish",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--terabytes", type=float, default=1, help="of text")
    parser.add_argument("--steps", nargs="+", choices=_STEPS.values(), default=[*_STEPS.values()])
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    table = []
    with tempfile.TemporaryDirectory() as folder:
        size = scale_steps.Size(options.terabytes, folder)
        for name, step in _STEPS.items():
            if step in options.steps:
                table.append({"step": name, **measure(size, step)})
                print(tabulate(table[-1:], tablefmt="plain"), flush=True)
    print(
        f"\n{options.terabytes:g} TB: {size.partitions:,} partitions of words, {size.shards:,} shards"
    )
    print(tabulate(table, headers="keys", tablefmt="github"))
    if options.json:
        options.json.write_text(json.dumps(table))


def measure(size: scale_steps.Size, step: str) -> dict[str, object]:
    """What a step takes over what its process had before."""
    context = multiprocessing.get_context("spawn")
    mine, other = context.Pipe()
    child = context.Process(target=_run, args=(size, step, other))
    child.start()
    other.close()
    mine.recv()
    before = peak = _memory(child.pid)
    mine.send("go")
    while not mine.poll(0.005):
        peak = max(peak, _memory(child.pid))
    came, seconds = mine.recv()
    child.join()
    return {
        "comes in for it, MB": round(came.size / 1e6, 1) or "",
        "peak over start, MB": round((peak - before) / 1e6),
        "core seconds": round(seconds, 1),
        "pieces sent": came.pieces,
    }


def _run(size: scale_steps.Size, step: str, parent: Connection) -> None:
    """The measured process."""
    modules = (scale_steps, scale_vocab_steps, scale_moving_steps)
    work = next(getattr(module, step) for module in modules if hasattr(module, step))(size)
    next(work)
    parent.send("ready")
    parent.recv()
    began = time.process_time()
    came = next(work)
    seconds = time.process_time() - began
    parent.send((came if isinstance(came, scale_steps.Came) else scale_steps.Came(came), seconds))


def _memory(pid: int | None) -> int:
    """Bytes of a process that are in memory and not of a file."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    found = re.search(r"RssAnon:\s+(\d+) kB", status)
    return int(found[1]) * 1024 if found else 0


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    main()
