"""All stages on each engine: the bytes of DirectRunner, and what a user can put right in one line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.command_process import run_command_process
from tests.engines import parts
from tests.engines.flink import Flink
from tests.engines.stages import describe, run_stages, stage_command, sums_of

pytestmark = pytest.mark.long
_ROOT = Path(__file__).resolve().parents[2]
_BAD = b'{"text": "fine"}\n{"text": "caf\xe9"}\n'


@pytest.fixture(params=["prism", "flink", "spark"])
def engine(request) -> tuple[str, list[str]]:
    """The name of an engine, and Beam's options for it."""
    if request.param == "prism":
        location = f"--prism_location={parts.prism(build=True)}"
        return request.param, ["--runner=PrismRunner", location]
    running = request.getfixturevalue(request.param)
    return request.param, running.beam_args() if isinstance(running, Flink) else running


def test_every_stage_writes_the_bytes_of_directrunner(tmp_path, corpus, expected, engine):
    name, beam_args = engine
    seconds = run_stages(corpus, tmp_path, beam_args)
    assert sums_of(tmp_path) == expected
    print(describe(name, seconds))


def test_an_error_of_the_user_is_one_line(tmp_path, corpus, whole, engine):
    name, beam_args = engine
    (tmp_path / "documents-0.jsonl").write_bytes(_BAD)
    (tmp_path / "vocab").symlink_to(whole / "vocab")
    if name == "flink":
        # Only the job server knows it. Batches are tried as often as the cluster's configuration says.
        beam_args = [*beam_args, "--number_of_execution_retries=1"]
    command = stage_command("rows", tmp_path, tmp_path)
    _, said = run_command_process(*command, *beam_args, status=2)
    check_refusal(said, tmp_path / "rows", "documents-0.jsonl:2: not valid UTF-8")


def test_workers_of_other_versions_are_refused_in_one_line(tmp_path, corpus, whole, flink):
    metadata = tmp_path / "nanotoken-0.0.1.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text("Metadata-Version: 2.1\nName: nanotoken\nVersion: 0.0.1\n")
    (tmp_path / "vocab").symlink_to(whole / "vocab")
    done = subprocess.run(
        [sys.executable, "-m", *stage_command("rows", corpus, tmp_path), *flink.beam_args()],
        # The command alone finds that version; its workers are children of the TaskManagers.
        env=os.environ | {"PYTHONPATH": f"{tmp_path}:{_ROOT}"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2, done.stderr
    check_refusal(done.stderr, tmp_path / "rows", ", this run was started with 0.0.1: ")


def check_refusal(said: str, output: Path, line: str) -> None:
    # But for what the stage is about to do, and the heartbeat.
    lines = [one for one in said.splitlines() if not one.startswith("tokenize: ")]
    assert len(lines) == 1, said
    assert line in lines[0]
    assert not (output / "manifest.json").exists()
