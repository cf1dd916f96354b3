"""``launch/pretrain_slurm.sh`` and ``launch/pretrain_gpu.sh`` with stand-ins for srun, scontrol and ssh.

No cluster and no GPU were at hand. The processes are real: they find each other on loopback and train
together on the CPU; one of them is killed, and so is a whole job.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.command_process import TINY, flags_of
from tests.launch.stand_ins import SCONTROL, SRUN, SSH, put

_STEPS = 40
_EXTRAS = "cuda,gcp,train"
# Who trains leaves its number; huge pages would start it anew.
_PYTHON = (
    'echo $$ > "$FAKE/python-${KERAS_DISTRIBUTION_PROCESS_ID:-0}"; '
    f'GLIBC_TUNABLES=glibc.malloc.hugetlb=0 exec {sys.executable} "$@"'
)


@pytest.fixture
def fake(tmp_path):
    put(tmp_path, srun=SRUN, scontrol=SCONTROL, ssh=SSH)
    return tmp_path


def environment(fake, **more):
    changed = {"FAKE": str(fake), "PATH": f"{fake}:{os.environ['PATH']}", "JAX_PLATFORMS": "cpu"}
    return os.environ | changed | {"KERAS_BACKEND": "jax"} | more


def flags(rows, output):
    options = TINY | {"steps": _STEPS, "learning_rate": 0.001, "checkpoint_every": 5}
    return flags_of(data=rows, output=output, **options)


def in_job(fake, checkout, rows, output, port, nodes="localhost,127.0.0.1", **more):
    """The SLURM script as a job runs it: a copy that lies elsewhere."""
    if not (fake / "code").exists():
        checkout(fake / "code", _PYTHON, _EXTRAS)
        shutil.copy(fake / "code" / "launch" / "pretrain_slurm.sh", fake / "slurm_script")
    job = {"SLURM_JOB_ID": "77", "SLURM_JOB_NODELIST": nodes}
    job["SLURM_SUBMIT_DIR"] = str(fake / "code")
    command = ["bash", "slurm_script", "--pause", "0", "--port", port, "--", *flags(rows, output)]
    return start(command, fake, **job, **more)


def start(command, fake, **more):
    return subprocess.Popen(
        [*map(str, command)],
        env=environment(fake, **more),
        cwd=fake,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def finish(process, status=0):
    said = process.communicate(timeout=900)[0]
    assert process.returncode == status, said
    return said


def read_losses(output):
    lines = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, len(lines) + 1))
    return [line["loss"] for line in lines]


def wait_for_step(output, step, process):
    path = output / "metrics.jsonl"
    while not path.exists() or path.read_bytes().count(b"\n") < step:
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.005)


def kill(fake, number):
    os.kill(int((fake / f"python-{number}").read_text()), signal.SIGKILL)


def newest(output):
    return max(int(path.stem[5:]) for path in (output / "checkpoints").glob("step-*.npz"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory, checkout, rows):
    """What two nodes do that nobody disturbs."""
    fake = tmp_path_factory.mktemp("whole")
    put(fake, srun=SRUN, scontrol=SCONTROL)
    finish(in_job(fake, checkout, rows, fake / "run", free_port()))
    return fake / "run"


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.mark.long
def test_a_slurm_job_goes_on_after_a_kill_and_with_fewer_nodes(fake, checkout, rows, whole):
    output = fake / "run"
    job = in_job(fake, checkout, rows, output, free_port())
    wait_for_step(output, 8, job)
    kill(fake, 1)
    while len((fake / "calls").read_text().splitlines()) < 3:
        time.sleep(0.01)
    wait_for_step(output, 22, job)
    # The whole job goes, as when its nodes are lost; the queue gives the next one a single node.
    kill(fake, 0)
    os.killpg(job.pid, signal.SIGKILL)
    kill(fake, 1)
    said = job.communicate()[0]
    assert re.search("interrupted: .*1 worker-status 137", said)
    assert "restart 1 of at most 100 in 0 s" in said
    assert "resuming after step" in said
    reached = newest(output)
    assert 20 <= reached < _STEPS
    more = {"nodes": "localhost", "SLURM_RESTART_COUNT": "1"}
    said = finish(in_job(fake, checkout, rows, output, free_port(), **more))
    assert f"resuming after step {reached}" in said
    losses, expected = read_losses(output), read_losses(whole)
    assert len(losses) == _STEPS
    assert losses[:reached] == expected[:reached]
    np.testing.assert_allclose(losses, expected, rtol=0, atol=1e-5)
    calls = [line.split()[:4] for line in (fake / "calls").read_text().splitlines()]
    started = [call[1] for call in calls if call[0] == "srun"]
    assert started == ["--nodes=2", "--nodes=2", "--nodes=1"]


@pytest.mark.long
def test_hosts_that_do_not_answer_are_left_out(fake, install_in, rows, whole):
    for host in ("localhost", "127.0.0.1"):
        install_in(fake / host / "bertmill", _PYTHON, _EXTRAS)
    output = fake / "run"
    command = ["bash", Path(__file__).parents[2] / "launch" / "pretrain_gpu.sh"]
    command += ["--hosts", "localhost,127.0.0.1", "--pause", 0, "--port", free_port(), "--"]
    process = start([*command, *flags(rows, output)], fake)
    wait_for_step(output, 12, process)
    (fake / "127.0.0.1").rename(fake / "gone")
    kill(fake, 1)
    said = finish(process)
    assert "training on localhost 127.0.0.1" in said
    assert "127.0.0.1 does not answer\npretrain_gpu: training on localhost\n" in said
    assert "resuming after step" in said
    np.testing.assert_allclose(read_losses(output), read_losses(whole), rtol=0, atol=1e-5)


def launch(fake, script, *arguments, status=0, **more):
    script = Path(__file__).parents[2] / "launch" / script
    said = finish(start(["bash", script, *arguments], fake, **more), status)
    return said.replace("\\n", "\n").replace("\\", "")


def test_dry_runs_only_print(fake):
    job = {"SLURM_JOB_ID": "50077", "SLURM_JOB_NODELIST": "n7,n8,n9"}
    trainer = ("--", "--data", "gs://b/my rows")
    said = launch(fake, "pretrain_slurm.sh", "--dry_run", *trainer, **job)
    assert "srun --nodes=3 --ntasks=3 --ntasks-per-node=1 --kill-on-bad-exit=1 bash -c" in said
    assert "KERAS_DISTRIBUTION_JOB_ADDRESSES=n7:30077" in said
    assert "unset SLURM_LOCALID" in said
    assert "trainer.pretrain --distributed true --data gs://b/my rows" in said
    # Outside a job.
    assert "JOB_ADDRESSES=node1:20000" in launch(fake, "pretrain_slurm.sh", "--dry_run", *trainer)
    said = launch(fake, "pretrain_gpu.sh", "--dry_run", "--hosts", "me@a,b", *trainer)
    assert said.count("JOB_ADDRESSES=a:8476 KERAS_DISTRIBUTION_NUM_PROCESSES=2") == 2
    assert said.count("bash launch/install.sh train,gcp,cuda") == 2
    assert "KERAS_DISTRIBUTION_PROCESS_ID=1" in said
    said = launch(fake, "pretrain_gpu.sh", "--dry_run", *trainer)
    assert "trainer.pretrain --data gs://b/my rows" in said
    assert "ssh" not in said
    assert (fake / "calls").read_text() == "scontrol show hostnames n7,n8,n9\n"


@pytest.fixture
def failing(fake, checkout):
    """A checkout whose Python notes its call and ends as $STATUS says."""
    checkout(fake / "code", 'echo x >> "$FAKE/tries"; exit $STATUS', _EXTRAS)
    return fake


@pytest.mark.parametrize(
    ("ended", "status", "tries", "message"),
    [
        (75, 1, 3, "gave up after 2 restarts"),
        (2, 2, 1, "trainer.pretrain says above what is to be put right"),
        (0, 0, 1, "trained"),
    ],
)
def test_the_number_of_tries_is_bounded(failing, ended, status, tries, message):
    script = failing / "code" / "launch" / "pretrain_gpu.sh"
    command = ["bash", script, "--restarts", 2, "--pause", 0, "--", "--data", "x"]
    said = finish(start(command, failing, STATUS=str(ended)), status)
    assert said.splitlines()[-1] == f"pretrain_gpu: {message}"
    assert len((failing / "tries").read_text()) == 2 * tries
    # A job that came back from the queue has used some.
    job = {"SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "n1", "SLURM_RESTART_COUNT": "2"}
    job |= {"SLURM_SUBMIT_DIR": str(failing / "code"), "STATUS": str(ended)}
    command[1] = failing / "code" / "launch" / "pretrain_slurm.sh"
    (failing / "tries").unlink()
    finish(start(command, failing, **job), status)
    assert len((failing / "tries").read_text()) == 2


def test_a_job_whose_time_is_up_goes_back_into_the_queue(failing):
    job = {"SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "n1", "STATUS": "75"}
    job |= {"SLURM_SUBMIT_DIR": str(failing / "code")}
    job["SLURM_JOB_END_TIME"] = str(int(time.time()) + 100)
    command = ["bash", failing / "code" / "launch" / "pretrain_slurm.sh", "--pause", "0"]
    said = finish(start([*command, "--", "--data", "x"], failing, **job))
    assert "the job's time is nearly up" in said
    assert "scontrol requeue 7" in (failing / "calls").read_text()
    assert (failing / "tries").read_text() == "x\n"


@pytest.mark.parametrize("script", ["pretrain_slurm", "pretrain_gpu"])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no flags for trainer.pretrain; write them behind --"),
        (["--prot", "1"], "unknown option --prot; flags of trainer.pretrain stand behind --"),
        (["--port"], "--port needs a value"),
        (["--port", "a", "--dry_run", "--", "x"], "--port a: give a whole number"),
        (["--restarts", "-1", "--dry_run", "--", "x"], "--restarts -1: give a whole number"),
    ],
)
def test_wrong_options(fake, script, arguments, message):
    assert launch(fake, f"{script}.sh", *arguments, status=2) == f"{script}: {message}\n"


def test_outside_a_job(fake):
    said = launch(fake, "pretrain_slurm.sh", "--", "--data", "x", status=2)
    assert said == "pretrain_slurm: this is no SLURM job; start it by sbatch\n"
    said = launch(fake, "pretrain_slurm.sh", "--", "x", status=2, SLURM_SUBMIT_DIR=str(fake))
    assert said == f"pretrain_slurm: {fake} is not the folder of bertmill; submit from there\n"
    for script in ("pretrain_slurm", "pretrain_gpu"):
        assert "--restarts N" in launch(fake, f"{script}.sh", "--help")
