"""Gives mutated files and command lines to every reader, loader and command: ``python -m tests.fuzz``;
with ``--outputs``, whole outputs with one file damaged to the commands that read them.

A result is right when the input is read, or refused in one line. Everything else is a crash; no result
within a minute is a hang; what was in the input, and is neither in the result nor counted as dropped,
is a silent loss. The same seed and number give the same input: run one again with ``--first NUMBER
--inputs 1``.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.fuzz.process import all_targets, output_targets, run_until_it_dies
from tests.fuzz.target import RIGHT, Outcome


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=100_000, help="how many to try")
    parser.add_argument("--outputs", action="store_true", help="whole outputs, not single files")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="the number of the first one")
    options = parser.parse_args()
    began = time.monotonic()
    outcomes: list[Outcome] = []
    make = output_targets if options.outputs else all_targets
    with tempfile.TemporaryDirectory(prefix="bertmill-fuzz-") as work:
        number, end = options.first, options.first + options.inputs
        while number < end:
            outcomes += run_until_it_dies(make, options.seed, range(number, end), Path(work))
            number = outcomes[-1].number + 1 if outcomes else end
    kinds = Counter(outcome.kind for outcome in outcomes)
    print(
        f"{len(outcomes):,} mutated inputs, seed {options.seed}, {time.monotonic() - began:,.0f} s"
    )
    for kind in (*RIGHT, "crash", "hang", "silent loss"):
        print(f"{kind:12}{kinds[kind]:10,}")
    sys.exit(any(outcome.kind not in RIGHT for outcome in outcomes))


if __name__ == "__main__":
    main()
