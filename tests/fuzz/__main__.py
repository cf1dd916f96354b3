"""Gives mutated files and command lines to every reader, loader and command: ``python -m tests.fuzz``;
with ``--outputs``, whole outputs with one file damaged to the commands that read them.

A result is right when the input is read, or refused in one line. Everything else is a crash; no result
within a minute is a hang; what was in the input, and is neither in the result nor counted as dropped,
is a silent loss. The same seed and number give the same input: run one again with ``--first NUMBER
--inputs 1``.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from dataclasses import astuple
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
    # Told to stop, it says how far it came.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    outcomes: list[Outcome] = []
    with suppress(KeyboardInterrupt), tempfile.TemporaryDirectory(prefix="bertmill-fuzz-") as work:
        make = output_targets if options.outputs else all_targets
        number, end = options.first, options.first + options.inputs
        while number < end:
            for outcome in run_until_it_dies(make, options.seed, range(number, end), Path(work)):
                outcomes.append(outcome)
                if outcome.kind not in RIGHT:
                    print(*astuple(outcome), sep=": ", flush=True)
            number = outcomes[-1].number + 1
    kinds = Counter(outcome.kind for outcome in outcomes)
    print(
        f"{len(outcomes):,} mutated inputs, seed {options.seed}, {time.monotonic() - began:,.0f} s"
    )
    for kind in (*RIGHT, "crash", "hang", "silent loss"):
        print(f"{kind:12}{kinds[kind]:10,}")
    sys.exit(any(outcome.kind not in RIGHT for outcome in outcomes))


if __name__ == "__main__":
    main()
