"""Kills commands at random moments and runs them again: ``python -m tests.fuzz.kills``.

A stage that was killed, once or twice, and run again must end with the files of an undisturbed run, and
leave nothing else: neither beside them nor in the folder for temporary files.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

from tests.fuzz.contents import contents
from tests.fuzz.killed_stages import STAGES, StageStarter, stages_read


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.kills", description=__doc__)
    parser.add_argument("--kills", type=int, default=100, help="how many, over all stages")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="the number of the first round")
    options = parser.parse_args()
    # Told to stop, it says how far it came.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    tally = _Tally(options.seed)
    try:
        with tempfile.TemporaryDirectory(prefix="bertmill-kills-") as folder:
            _kill_all(Killer(Path(folder)), options, tally)
    except KeyboardInterrupt:
        print("stopped")
    print(tally)
    sys.exit(tally.faults > 0)


def _kill_all(killer: Killer, options: argparse.Namespace, tally: _Tally) -> None:
    for stage in options.stages:
        killer.run_undisturbed(stage)
        print(f"{stage}: {killer.seconds[stage]:.1f} s undisturbed", flush=True)
    number = options.first
    while tally.kills.total() < options.kills:
        stage = options.stages[number % len(options.stages)]
        kills, problem = killer.kill_and_repeat(stage, Random(f"{options.seed}/{number}"))
        tally.kills[stage] += kills
        if problem:
            tally.faults += 1
            print(f"round {number}: {stage}: {problem}", flush=True)
        number += 1
        print(tally, flush=True)


class _Tally:
    """What has been done so far."""

    def __init__(self, seed: int):
        self.kills = Counter[str]()
        self.faults = 0
        self._seed = seed
        self._began = time.monotonic()

    def __str__(self) -> str:
        each = ", ".join(f"{stage} {count}" for stage, count in self.kills.items())
        return (
            f"{self.kills.total()} kills in {time.monotonic() - self._began:.0f} s "
            f"(seed {self._seed}: {each}): {self.faults} runs afterwards not right"
        )


class Killer:
    """Runs stages in ``folder``, undisturbed or killed and repeated."""

    def __init__(self, folder: Path):
        self.seconds: dict[str, float] = {}
        self._folder = folder
        self._stages = StageStarter(folder)
        self._expected: dict[str, dict[str, Any]] = {}

    def run_undisturbed(self, stage: str) -> None:
        """The run that others must equal, after those that it reads."""
        for name in stages_read(stage):
            if name not in self._expected:
                self.run_undisturbed(name)
        place = self._folder / "whole" / stage
        # The first finds nothing compiled; the second says how long others take.
        for _ in range(2):
            _remove(place)
            began = time.monotonic()
            if problem := self._run(stage, place):
                raise RuntimeError(f"{stage}: {problem}")
            self.seconds[stage] = time.monotonic() - began
        self._expected[stage] = contents(place)

    def kill_and_repeat(self, stage: str, draw: Random) -> tuple[int, str]:
        """How often the command was killed, and what was wrong with the run after that, if anything."""
        place = self._folder / "killed" / stage
        _remove(place)
        kills = 0
        for _ in range(draw.choice((1, 1, 2))):
            moment = draw.random() * self.seconds[stage]
            with self._stages.start(stage, place) as process:
                try:
                    process.wait(moment)
                except (TimeoutError, subprocess.TimeoutExpired):
                    process.kill()
                    kills += 1
        if problem := self._run(stage, place):
            return kills, problem
        found, expected = contents(place), self._expected[stage]
        names = sorted(n for n in {*found, *expected} if found.get(n) != expected.get(n))
        return kills, f"differs: {', '.join(names)}" if names else ""

    def _run(self, stage: str, place: Path) -> str:
        """Runs the stage to its end; what went wrong."""
        with self._stages.start(stage, place) as process:
            try:
                _, said = process.communicate(600)
            except BaseException:
                process.kill()
                raise
        status = process.returncode
        return f"exit status {status}: {said[-500:]}" if status else ""


def _remove(place: Path) -> None:
    shutil.rmtree(place, ignore_errors=True)
    if place.exists():
        raise RuntimeError(f"{os.fspath(place)} cannot be removed: somebody still writes to it")


if __name__ == "__main__":
    main()
