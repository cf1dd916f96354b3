"""Flink loses TaskManagers and workers in the middle of a shard, and work is done twice: equal bytes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.storage.files import TEMPORARY
from tests.command_process import CommandProcess, run_command_process
from tests.engines.processes import (
    descendants,
    is_running,
    send,
    stop_in_mid_shard,
    wait_until,
)
from tests.engines.stages import stage_command, sums_of

pytestmark = pytest.mark.long

_ROOT = Path(__file__).resolve().parents[2]

_FILTER = """
import hashlib
import pathlib

def fails_once(text):
    name = hashlib.sha256(text.encode()).hexdigest()
    mark = pathlib.Path({folder!r}, name)
    if int(name, 16) % 40 == 0 and not mark.exists():
        mark.touch()
        raise RuntimeError("try again")
    return True
"""


@pytest.fixture(scope="module")
def large(tmp_path_factory, data_dir) -> tuple[list[str], dict[str, str]]:
    """A command that writes large shards, without its output, and the sums that it must give."""
    output = tmp_path_factory.mktemp("large")
    vocabulary = data_dir / "vocab" / "bert-base-uncased-vocab.txt"
    command = [
        "pipelines.tokenize",
        f"--input={data_dir}/wiki_en/wiki-00000*.jsonl.gz",
        f"--vocab={vocabulary}",
        "--seq_length=128",
        "--num_shards=2",
    ]
    run_command_process(*command, f"--output={output / 'rows'}")
    return command, sums_of(output)


@pytest.mark.parametrize("lost", ["machine", "task manager", "worker"])
def test_a_loss_in_mid_shard_changes_nothing(tmp_path, flink, large, lost):
    command, expected = large
    output = tmp_path / "rows"
    managers = {service.pid: name for name, service in flink.task_managers.items()}
    with CommandProcess(*command, f"--output={output}", *flink.beam_args()) as run:
        manager, worker = stop_in_mid_shard(list(managers), output)
        assert list(output.glob(f"{TEMPORARY}*")), "the shard was finished already"
        below = descendants(manager)
        if lost == "machine":
            send([manager, *below], signal.SIGKILL)
        elif lost == "task manager":
            # Its worker goes on writing.
            send([manager], signal.SIGKILL)
            send([worker], signal.SIGCONT)
        else:
            send([worker], signal.SIGKILL)
        if lost != "worker":
            flink.task_managers[managers[manager]].stop()
            flink.start_task_manager(managers[manager])
        _, said = run.communicate(timeout=900)
    assert run.returncode == 0, said
    assert sums_of(tmp_path) == expected
    # Whoever worked for a TaskManager ends after it.
    if lost != "worker":
        wait_until(lambda: not any(map(is_running, below)), f"processes of {manager} end", 60)
    flink.wait_for_slots()


def test_work_that_is_done_again_counts_once(tmp_path, flink, corpus, whole):
    """And the filter's file reaches workers whose working folder it is not in."""
    marks = tmp_path / "marks"
    marks.mkdir()
    (tmp_path / "flaky.py").write_text(_FILTER.format(folder=str(marks)))
    sums = []
    # Where every mark is set, the filter refuses nothing and never fails.
    for name, beam_args in (("engine", flink.beam_args()), ("direct", [])):
        output = tmp_path / name
        output.mkdir()
        (output / "vocab").symlink_to(whole / "vocab")
        command = stage_command("rows", corpus, output)
        subprocess.run(
            [sys.executable, "-m", *command, "--filter=flaky:fails_once", *beam_args],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(_ROOT)},
            check=True,
        )
        sums.append(sums_of(output / "rows"))
        assert len(list(marks.iterdir())) >= 4
    assert sums[0] == sums[1]
