"""``launch/flink.sh``: the commands it makes. Runs on Flink itself are in ``tests/engines``."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest

_SCRIPT = Path(__file__).resolve().parents[2] / "launch" / "flink.sh"


def dry_run(*arguments):
    command = ["bash", _SCRIPT, "tokenize", "--job_server", "jobs:8099", "--dry_run", *arguments]
    done = subprocess.run(
        [*command, "--", "--output", "/shared/my rows"],
        capture_output=True,
        text=True,
        check=True,
        cwd="/",
    )
    install, run = (shlex.split(line) for line in done.stdout.splitlines())
    assert install == ["bash", "launch/install.sh", "gcp"]
    assert run[:5] == [
        ".venv/bin/python",
        "-m",
        "pipelines.tokenize",
        "--output",
        "/shared/my rows",
    ]
    return " ".join(run[5:])


def test_workers_are_processes_or_pools():
    said = dry_run()
    assert said.startswith("--runner PortableRunner --job_endpoint jobs:8099 ")
    command = _SCRIPT.with_name("beam_worker.sh")
    assert f"--environment_type PROCESS --environment_options process_command={command}" in said
    assert "execution" not in said
    assert "--parallelism" not in said
    assert "process_command=/opt/w.sh" in dry_run("--worker", "/opt/w.sh")
    said = dry_run("--pool", "localhost:50000", "--parallelism", "8", "--restarts", "4")
    assert "--environment_type EXTERNAL" in said
    assert "--environment_options external_service_address=localhost:50000" in said
    assert "--parallelism 8 --number_of_execution_retries 4 --execution_retry_delay 10000" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "which stage: vocab, tokenize or mask?"),
        (["mask"], "--job_server '': give HOST:PORT of Beam's job server"),
        (["mask", "--job_server", "h"], "--job_server 'h': give HOST:PORT"),
        (["mask", "--job_server", "h:1", "--pool", "5"], "--pool 5: give HOST:PORT"),
        (
            ["mask", "--job_server", "h:1", "--worker", "w.sh"],
            "--worker w.sh: give an absolute path",
        ),
        (["mask", "--job_server", "h:1", "--restarts", "-1"], "--restarts -1: give a whole number"),
        (["mask", "--job_server", "h:1"], "no flags for pipelines.mask; write them behind --"),
        (["mask", "--jobserver"], "unknown option --jobserver; the stage's flags stand behind --"),
    ],
)
def test_wrong_options(arguments, message):
    done = subprocess.run(["bash", _SCRIPT, *arguments], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith(f"flink: {message}")
    assert len(done.stderr.splitlines()) == 1
