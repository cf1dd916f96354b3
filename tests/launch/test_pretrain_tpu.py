"""``launch/pretrain_tpu.sh`` with a stand-in for gcloud, which runs each command here, on the CPU.

No TPU was at hand: that gcloud itself behaves like this is not tested. The training is real: it is
stopped once with SIGTERM, as by maintenance, and the loop starts it again.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parents[2]
_SCRIPT = _ROOT / "launch" / "pretrain_tpu.sh"

# Notes every call; keeps the TPU's state in a file; "ssh" runs the command in its own home folder. What
# is queued waits for the next look; of a preempted TPU the queued resource is suspended.
_GCLOUD = """#!/usr/bin/env bash
printf '%s\\n' "$*" | head -n 1 >> "$FAKE/calls"
case $3-$4 in
  queued-resources-describe)
    [ -f "$FAKE/state" ] || exit 1
    sed s/READY/ACTIVE/\\;s/PREEMPTED/SUSPENDED/ "$FAKE/state"
    sed -i s/WAITING_FOR_RESOURCES/READY/ "$FAKE/state"
    exit ;;
  queued-resources-create) echo WAITING_FOR_RESOURCES > "$FAKE/state"; exit ;;
esac
case $4 in
  describe) cat "$FAKE/state" ;;
  create) echo READY > "$FAKE/state" ;;
  delete) rm "$FAKE/state" ;;
  scp) cp "$5" "$FAKE/home/${6#*:}" ;;
  ssh)
    while [ "$1" != --command ]; do shift; done
    if [ -f "$FAKE/preempt" ] && grep -q trainer.pretrain <<< "$2"; then
      rm "$FAKE/preempt"; echo PREEMPTED > "$FAKE/state"; exit 255
    fi
    cd "$FAKE/home" || exit 1
    bash -c "$2" ;;
esac
"""


@pytest.fixture
def fake(tmp_path, install_in):
    """A folder with the stand-in and one worker's home, where the packages are installed already."""
    (tmp_path / "gcloud").write_text(_GCLOUD)
    (tmp_path / "gcloud").chmod(0o755)
    (tmp_path / "state").write_text("READY\n")
    (tmp_path / "calls").touch()
    home = tmp_path / "home" / "bertmill"
    install_in(home, f'exec {sys.executable} "$@"', extras="gcp,tpu,train")
    return tmp_path


def environment(fake):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return os.environ | {
        "FAKE": str(fake),
        "PATH": f"{fake}:{os.environ['PATH']}",
        "KERAS_BACKEND": "jax",
        "JAX_PLATFORMS": "cpu",
        "KERAS_DISTRIBUTION_JOB_ADDRESSES": f"127.0.0.1:{port}",
        "KERAS_DISTRIBUTION_NUM_PROCESSES": "1",
        "KERAS_DISTRIBUTION_PROCESS_ID": "0",
    }


def launch(fake, *arguments, trainer=("--data", "x", "--output", "y")):
    command = ["bash", str(_SCRIPT), "--tpu", "pod", "--zone", "z", "--pause", "0", *arguments]
    done = subprocess.run(
        [*command, "--", *map(str, trainer)],
        env=environment(fake),
        cwd=fake,
        capture_output=True,
        text=True,
        timeout=900,
    )
    calls = [line.split()[3] for line in (fake / "calls").read_text().splitlines()]
    return done, calls


@pytest.mark.long
def test_a_run_that_was_stopped_goes_on(fake, rows):
    output = fake / "run"
    # Maintenance: when ten steps are logged, whoever trains gets SIGTERM, once.
    watcher = subprocess.Popen(
        [
            "bash",
            "-c",
            f"until [ $(wc -l < {output}/metrics.jsonl || echo 0) -ge 10 ]; do sleep 0.02; done;"
            f"kill -TERM $(cat {fake}/home/bertmill/pretrain-*.pid)",
        ],
        stderr=subprocess.DEVNULL,
    )
    flags = "--num_layers 1 --num_heads 2 --hidden_dim 16 --intermediate_dim 32 --batch_size 8"
    trainer = ["--data", rows, "--output", output, *flags.split(), "--steps", 300, "--log_every", 1]
    done, calls = launch(fake, trainer=trainer)
    watcher.kill()
    assert done.returncode == 0, done.stderr
    assert "1 worker-status 75" in done.stderr
    assert "restart 1 of at most 100" in done.stderr
    # Each attempt looks at the TPU, copies the code, installs, trains.
    assert calls == ["describe", "scp", "ssh", "ssh"] * 2
    assert "resuming after step" in done.stdout
    lines = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 301))
    assert (output / "manifest.json").exists()
    assert not list((fake / "home" / "bertmill").glob("*.pid"))


def test_mistakes_are_not_repeated(fake):
    done, calls = launch(fake, trainer=["--data", "nowhere", "--output", "run"])
    assert done.returncode == 2
    assert "nowhere" in done.stdout
    assert calls == ["describe", "scp", "ssh", "ssh"]


def test_a_preempted_tpu_is_made_again_only_if_that_was_asked_for(fake):
    (fake / "preempt").touch()
    done, calls = launch(fake)
    assert done.returncode == 2
    assert "pod in z is PREEMPTED, not READY" in done.stderr
    assert calls == ["describe", "scp", "ssh", "ssh", "describe"]
    (fake / "calls").write_text("")
    (fake / "state").write_text("READY\n")
    (fake / "preempt").touch()
    done, calls = launch(fake, "--create", "v4-32", "--spot")
    assert calls[4:7] == ["describe", "delete", "create"]
    made = [line for line in (fake / "calls").read_text().splitlines() if " create " in line]
    assert made[0].split()[4:] == (
        "pod --accelerator-type v4-32 --version tpu-ubuntu2204-base --spot --zone z".split()
    )


def test_a_queued_resource_is_waited_for_and_made_again_after_a_preemption(fake):
    (fake / "state").unlink()
    (fake / "preempt").touch()
    done, calls = launch(fake, "--create", "v5litepod-16", "--spot", "--queued")
    assert "queued resource pod: SUSPENDED" in done.stderr
    waited = ["describe", "create", "describe", "describe", "scp", "ssh", "ssh"]
    # What follows trains on nothing, which is a mistake of ours.
    assert calls == [*waited, "describe", "delete", *waited]
    assert done.returncode == 2
    lines = (fake / "calls").read_text().splitlines()
    assert lines[1].split()[2:] == (
        "queued-resources create pod --node-id pod --accelerator-type v5litepod-16"
        " --runtime-version tpu-ubuntu2204-base --spot --zone z".split()
    )
    assert lines[8].split()[2:] == "queued-resources delete pod --force --quiet --zone z".split()


def test_a_dry_run_only_prints(fake):
    done, calls = launch(fake, "--dry_run", "--project", "p", trainer=["--output", "gs://b/my run"])
    assert done.returncode == 0, done.stderr
    assert calls == []
    assert "bash launch/install.sh train,gcp,tpu" in done.stdout
    assert "--distributed" in done.stdout
    assert "--worker=all" in done.stdout
    assert " create " not in done.stdout
    assert "--project p" in done.stdout
    assert " create " in launch(fake, "--dry_run", "--create", "v4-8")[0].stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--zone", "z", "--", "--data", "x"], "--tpu NAME: which TPU VM?"),
        (["--tpu", "t", "--", "--data", "x"], "--zone ZONE: where is t?"),
        (["--tpu", "t", "--zone", "z"], "no flags for trainer.pretrain"),
        (["--tpu", "t", "--zoen", "z"], "unknown option --zoen"),
        (["--tpu"], "--tpu needs a value"),
        (["--tpu", "t", "--zone", "z", "--queued", "--", "x"], "--queued: of which type?"),
    ],
)
def test_wrong_options(arguments, message):
    done = subprocess.run(["bash", str(_SCRIPT), *arguments], capture_output=True, text=True)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
