"""The stages that run on Beam, one after another, and what they wrote."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.command_process import run_command_process

_INPUT = "--input {corpus}/documents-*"
_STAGES = {
    "vocab": f"pipelines.vocab {_INPUT} --vocab_size 500",
    "rows": f"pipelines.tokenize {_INPUT} --vocab {{output}}/vocab --seq_length 64 --num_shards 4 "
    "--validation_fraction 0.1 --deduplicate near",
    "examples": "pipelines.tokenize --packing examples --input {corpus}/labelled.jsonl "
    "--text_pair_field pair --label_field label --vocab {output}/vocab --seq_length 32 --num_shards 2",
    "masked": "pipelines.mask --input {output}/rows --copies 2",
}


def stage_command(stage: str, corpus: Path, output: Path) -> list[str]:
    """The module and its arguments, but for Beam's options; earlier stages are in ``output``."""
    words = _STAGES[stage].format(corpus=corpus, output=output).split()
    return [*words, f"--output={output / stage}"]


def run_stages(corpus: Path, output: Path, beam_args: Sequence[str]) -> dict[str, float]:
    """Runs all of them; returns how many seconds each took."""
    seconds = {}
    for stage in _STAGES:
        began = time.monotonic()
        run_command_process(*stage_command(stage, corpus, output), *beam_args)
        seconds[stage] = time.monotonic() - began
    return seconds


def describe(engine: str, seconds: Mapping[str, float]) -> str:
    """One line for the table of docs/scale.md."""
    return f"{engine}: {', '.join(f'{stage} {took:.0f} s' for stage, took in seconds.items())}"


def sums_of(output: Path) -> dict[str, str]:
    """The SHA-256 of every file below a folder, but for what one run says of itself."""
    return {
        str(path.relative_to(output)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(output.rglob("*"))
        if path.is_file() and path.name not in ("run.json", ".lock")
    }
