"""Kills commands at random moments and runs them again: ``python -m tests.fuzz.kills``.

A stage that was killed, once or twice, and run again must end with the files of an undisturbed run, and
leave nothing else: neither beside them nor in the folder for temporary files.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import sys
import sysconfig
import tempfile
import time
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from tests.command_process import TINY, CommandProcess, flags_of
from tests.golden.corpus import write_corpus

_DOCUMENTS = "--input {corpus}/documents-*"
_TOKENIZE = "--vocab {whole}/vocab/out --seq_length 64 --num_shards 3 --validation_fraction 0.1"
_MODEL = " ".join(flags_of(**TINY | {"checkpoint_every": 5, "steps": 40, "eval_every": 20}))
# Every stage reads what undisturbed runs of earlier ones wrote.
STAGES = {
    "vocab": f"pipelines.vocab {_DOCUMENTS} --vocab_size 500 --output {{place}}/out",
    "tokenize": f"pipelines.tokenize {_DOCUMENTS} {_TOKENIZE} --output {{place}}/out",
    "mask": "pipelines.mask --input {whole}/tokenize/out --copies 3 --output {place}/out",
    "docstrings": "launch.quickstart_corpus.docstrings --folders {packages}/jinja2 "
    "{packages}/yaml {packages}/tqdm "
    "--labels 2 --train_per_label 4 --validation_per_label 2 --output {place}/out",
    "pretrain": f"trainer.pretrain --data {{whole}}/tokenize/out {_MODEL} --output {{place}}/out",
    "export": "trainer.export --run {whole}/pretrain/out --output {place}/out --hf_output {place}/hf",
    "finetune": "trainer.finetune --preset {whole}/export/out --train {corpus}/labelled.jsonl "
    "--seq_length 32 --epochs 1 --restarts 2 --batch_size 8 --output {place}/out",
    "evaluate": "trainer.evaluate --preset {whole}/finetune/out --data {corpus}/labelled.jsonl "
    "--output {place}/out",
    "predict": "trainer.predict --preset {whole}/finetune/out --data {corpus}/labelled.jsonl "
    "--output {place}/out/predictions.jsonl",
}
# What holds times, or comes from them.
_OF_ONE_RUN = (
    *("run.json", "card.md", "metadata.json", "report.html", "identity.json", "SHA256SUMS"),
)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.kills", description=__doc__)
    parser.add_argument("--kills", type=int, default=100, help="how many, over all stages")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    faults, counts = 0, Counter[str]()
    with tempfile.TemporaryDirectory(prefix="bertmill-kills-") as folder:
        killer = Killer(Path(folder))
        for stage in STAGES:
            killer.run_undisturbed(stage)
        number = 0
        while counts.total() < options.kills:
            stage = list(STAGES)[number % len(STAGES)]
            kills, problem = killer.kill_and_repeat(stage, Random(f"{options.seed}/{number}"))
            counts[stage] += kills
            number += 1
            if problem:
                faults += 1
                print(f"{number}: {stage}: {problem}", flush=True)
    each = ", ".join(f"{stage} {count}" for stage, count in counts.items())
    print(
        f"{counts.total()} kills (seed {options.seed}: {each}): {faults} runs afterwards not right"
    )
    sys.exit(faults > 0)


class Killer:
    """Runs stages in ``folder``, undisturbed or killed and repeated."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._expected: dict[str, dict[str, Any]] = {}
        self._seconds: dict[str, float] = {}
        write_corpus(folder / "corpus")

    def run_undisturbed(self, stage: str) -> None:
        """The run that others must equal, and that later stages read."""
        place = self._folder / "whole" / stage
        # The first finds nothing compiled; the second says how long others take.
        for _ in range(2):
            _remove(place)
            began = time.monotonic()
            process = self._start(stage, place)
            _, said = process.communicate(600)
            if process.returncode:
                raise RuntimeError(f"{stage}: exit status {process.returncode}: {said[-500:]}")
            self._seconds[stage] = time.monotonic() - began
        self._expected[stage] = contents(place)

    def kill_and_repeat(self, stage: str, draw: Random) -> tuple[int, str]:
        """How often the command was killed, and what was wrong with the run after that, if anything."""
        place = self._folder / "killed" / stage
        _remove(place)
        kills = 0
        for _ in range(draw.choice((1, 1, 2))):
            moment = draw.random() * self._seconds[stage]
            with self._start(stage, place) as process:
                try:
                    process.wait(moment)
                except TimeoutError:
                    process.kill()
                    kills += 1
        process = self._start(stage, place)
        _, said = process.communicate(600)
        if process.returncode:
            return kills, f"exit status {process.returncode}: {said[-500:]}"
        found, expected = contents(place), self._expected[stage]
        names = sorted(n for n in {*found, *expected} if found.get(n) != expected.get(n))
        return kills, f"differs: {', '.join(names)}" if names else ""

    def _start(self, stage: str, place: Path) -> CommandProcess:
        (place / "tmp").mkdir(parents=True, exist_ok=True)
        module, *arguments = STAGES[stage].split()
        places = {
            "corpus": self._folder / "corpus",
            "whole": self._folder / "whole",
            "packages": sysconfig.get_path("purelib"),
            "place": place,
        }
        compiled = {
            "JAX_COMPILATION_CACHE_DIR": str(self._folder / "compiled"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
            "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        }
        given = [argument.format(**places) for argument in arguments]
        return CommandProcess(
            module, *given, environment={"TMPDIR": str(place / "tmp"), **compiled}
        )


def contents(place: Path) -> dict[str, Any]:
    """What is in every file and folder below ``place``, hidden ones too, by its path in it; None for
    what is not the same in two runs."""
    found: dict[str, Any] = {}
    for path in sorted(place.rglob("*")):
        name = path.relative_to(place).as_posix()
        found[name] = None if path.is_dir() else _content(path)
    return found


def _content(path: Path) -> Any:
    if path.name in _OF_ONE_RUN or "tensorboard" in path.parts:
        return None
    if path.suffix == ".h5":
        import h5py

        arrays: dict[str, Any] = {}
        with h5py.File(path) as file:
            file.visititems(
                lambda name, item: arrays.update(
                    {name: _hash(np.asarray(item[()]).tobytes())} if hasattr(item, "shape") else {}
                )
            )
        return arrays
    if path.suffix == ".npz":
        with np.load(path) as stored:
            return {n: _hash(stored[n].tobytes()) for n in stored.files if n != "record.json"}
    if path.name == "metrics.jsonl":
        lines = map(json.loads, path.read_text().splitlines())
        return [{name: v for name, v in line.items() if "loss" in name} for line in lines]
    return _hash(path.read_bytes())


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _remove(place: Path) -> None:
    shutil.rmtree(place, ignore_errors=True)
    if place.exists():
        raise RuntimeError(f"{os.fspath(place)} cannot be removed: somebody still writes to it")


if __name__ == "__main__":
    main()
