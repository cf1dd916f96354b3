"""What the stages expect of a run beside what it took: ``python -m tests.benchmarks.estimates``.

Each of the commands runs once over each corpus; the table at its end has both. Processor time is
compared, since a machine that does other work has no time that means anything.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from tabulate import tabulate

_LINE = re.compile(r"^(\S.*?)  +([\d.,]+)(?: \w+)?  +estimated ([\d.,]+)", re.MULTILINE)
_SHOWN = (
    "documents read",
    "text read",
    "distinct words",
    "tokens of the documents",
    "rows",
    "shards",
    "took",
    "processor time",
    "peak memory",
)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.estimates", description=__doc__
    )
    parser.add_argument(
        "--corpus", action="append", nargs="+", required=True, metavar=("NAME", "FILE")
    )
    parser.add_argument("--vocab", required=True, help="the vocabulary to tokenize with")
    parser.add_argument("--json", help="write the figures to this file too")
    arguments = parser.parse_args()
    rows, figures = [], []
    for name, *files in arguments.corpus:
        with tempfile.TemporaryDirectory() as folder:
            for stage, said in _run_stages(files, arguments.vocab, Path(folder)).items():
                for words, actual, estimated in said:
                    figures.append((name, stage, words, estimated, actual))
                    off = f"{estimated / actual - 1:+.0%}" if actual else ""
                    rows.append((name, stage, words, f"{estimated:,.10g}", f"{actual:,.10g}", off))
    print(tabulate(rows, ["corpus", "stage", "", "estimated", "actual", "off"], tablefmt="github"))
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(figures, indent=1))


def _run_stages(
    files: list[str], vocab: str, folder: Path
) -> dict[str, list[tuple[str, float, float]]]:
    """(figure, actual, estimated) by stage."""
    rows = f"{folder}/rows"
    commands = {
        "vocab": ["--input", *files, "--output", f"{folder}/vocab"],
        "tokenize": ["--input", *files, "--vocab", vocab, "--output", rows],
        "mask": ["--input", rows, "--output", f"{folder}/examples"],
    }
    said = {}
    for stage, given in commands.items():
        command = [sys.executable, "-m", f"pipelines.{stage}", *given]
        table = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        found = {words: (_number(a), _number(b)) for words, a, b in _LINE.findall(table)}
        said[stage] = [(words, *found[words]) for words in _SHOWN if words in found]
    return said


def _number(text: str) -> float:
    return float(text.replace(",", ""))


if __name__ == "__main__":
    main()
