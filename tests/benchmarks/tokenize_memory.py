"""Peak memory of the tokenize stage as the corpus grows.

``python -m tests.benchmarks.tokenize_memory --input FILES --vocab vocab.txt [--times 1 2 4]`` from the
repository's root. Each size is a process of its own over distinct copies of the text; the peak is the
kernel's count of its resident memory (all workers are threads of one process), and "over start-up"
what it had on top of a process that tokenized one small document. Results go in the notes.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from tabulate import tabulate

from tests.benchmarks.tokenize_pipeline import write_copies


def measure(corpus: Path, options: argparse.Namespace, output: Path) -> float:
    """Peak resident megabytes of one run."""
    command = [sys.executable, "-m", "tests.benchmarks.tokenize_memory", "--measure"]
    command += ["--input", str(corpus), "--vocab", options.vocab, "--output", str(output)]
    command += ["--num_shards", str(options.shards), "--lowercase", "true"]
    command += [f"--direct_num_workers={options.workers}"]
    ran = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(ran.stdout.splitlines()[-1])


def run_and_report(arguments: list[str]) -> None:
    """The measured process."""
    from pipelines.command.run import parse_command
    from pipelines.tokenize.config import TokenizeConfig
    from pipelines.tokenize.pipeline import tokenize

    config, options = parse_command(
        TokenizeConfig, "tokenize", "pipelines.tokenize", arguments, beam=True
    )
    tokenize(config, options)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def main() -> None:
    if sys.argv[1:2] == ["--measure"]:
        run_and_report(sys.argv[2:])
        return
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--input", nargs="+", required=True, help="jsonl files with a field text")
    parser.add_argument("--vocab", required=True, help="a vocab.txt (lower case)")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--shards", type=int, default=8)
    parser.add_argument("--times", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    table = []
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        (work / "small").mkdir()
        (work / "small" / "one.jsonl").write_text('{"text": "one document"}\n')
        start = measure(work / "small", options, work / "rows-small")
        table.append({"corpus, MB": 0.0, "peak, MB": round(start), "over start-up, MB": 0})
        for times in options.times:
            size = write_copies(options.input, work / f"corpus-{times}", times)
            peak = measure(work / f"corpus-{times}", options, work / f"rows-{times}")
            table.append(
                {
                    "corpus, MB": round(size / 1e6, 1),
                    "peak, MB": round(peak),
                    "over start-up, MB": round(peak - start),
                }
            )
    print(tabulate(table, headers="keys"))
    if options.json:
        options.json.write_text(json.dumps({"table": table, "workers": options.workers}))


if __name__ == "__main__":
    main()
