"""All stages on each engine: the bytes of DirectRunner, and a user's error in one line."""

from __future__ import annotations

import pytest

from tests.command_process import run_command_process
from tests.engines import parts
from tests.engines.flink import Flink
from tests.engines.stages import describe, run_stages, stage_command, sums_of

pytestmark = pytest.mark.long
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
    # But for what the stage is about to do, and the heartbeat.
    lines = [line for line in said.splitlines() if not line.startswith("tokenize: ")]
    assert len(lines) == 1, said
    assert "documents-0.jsonl:2: not valid UTF-8" in lines[0]
    assert not (tmp_path / "rows" / "manifest.json").exists()
