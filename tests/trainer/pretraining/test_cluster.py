"""Several devices and several processes: the same rows, the same losses, the same weights."""

from __future__ import annotations

import json
import signal
import socket
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from tests.command_process import CommandProcess, flags_of
from trainer.pretraining.check_config import check_devices
from trainer.pretraining.checkpoints import Checkpoints
from trainer.pretraining.cluster import Cluster, join_cluster
from trainer.pretraining.config import PretrainConfig

_TINY: dict[str, Any] = {
    "num_layers": 1,
    "num_heads": 4,
    # Wide enough for the optimizer's slots to be shared by several devices.
    "hidden_dim": 16,
    "intermediate_dim": 1024,
    "batch_size": 8,
    "steps": 48,
    # Large steps would blow up differences in the last bit.
    "learning_rate": 0.001,
    "log_every": 1,
    "checkpoint_every": 16,
}


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def start(processes: int, devices: int = 1, **options: Any) -> list[CommandProcess]:
    """The same command in several processes on this machine, each with so many devices."""
    addresses = ",".join(f"127.0.0.1:{port}" for port in free_ports(processes))
    started = []
    for number in range(processes):
        environment = {"XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}"}
        if processes > 1:
            environment |= {
                "KERAS_DISTRIBUTION_JOB_ADDRESSES": addresses,
                "KERAS_DISTRIBUTION_NUM_PROCESSES": str(processes),
                "KERAS_DISTRIBUTION_PROCESS_ID": str(number),
            }
        flags = flags_of(**_TINY | options)
        started.append(CommandProcess("trainer.pretrain", *flags, environment=environment))
    return started


def finish(processes: list[CommandProcess], status: int = 0) -> list[str]:
    said = [process.communicate(timeout=300)[1] for process in processes]
    assert [process.returncode for process in processes] == [status] * len(processes), said
    return said


def read_losses(output: Path) -> list[float]:
    lines = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, len(lines) + 1))
    return [line["loss"] for line in lines]


def read_weights(output: Path) -> dict[str, Any]:
    checkpoints = Checkpoints(str(output), keep=2)
    arrays, _ = checkpoints.load(checkpoints.newest())
    return {name: values for name, values in arrays.items() if name.startswith("model/")}


def assert_alike(output: Path, whole: Path) -> None:
    np.testing.assert_allclose(read_losses(output), read_losses(whole), rtol=0, atol=1e-5)
    expected = read_weights(whole)
    for name, values in read_weights(output).items():
        np.testing.assert_allclose(values, expected[name], rtol=0, atol=1e-5, err_msg=name)


@pytest.fixture(scope="module")
def whole(make_rows, tmp_path_factory) -> Path:
    """One process on one device."""
    output = tmp_path_factory.mktemp("whole")
    finish(start(1, data=make_rows(), output=output))
    return output


@pytest.mark.parametrize(
    "options",
    [{}, {"model_parallel": 2}, {"grad_accumulation": 2}, {"optimizer": "muon"}],
    ids=lambda o: str(o),
)
def test_four_devices_do_what_one_does(whole, make_rows, tmp_path, options):
    finish(start(1, devices=4, data=make_rows(), output=tmp_path / "four", **options))
    if options and "model_parallel" not in options:  # parts of a batch drop out other elements
        whole = tmp_path / "one"
        finish(start(1, data=make_rows(), output=whole, **options))
    assert_alike(tmp_path / "four", whole)


@pytest.mark.parametrize(
    ("name", "shape", "axes"),
    [
        (
            "optimizer/0003/adam/encoder_feedforward_other_kernel_momentum",
            (64, 256),
            (None, "batch"),
        ),
        (
            "optimizer/0003/adam/encoder_query_kernel_velocity",
            (512, 4, 16),
            ("batch", "model", None),
        ),
        ("optimizer/0003/adam/encoder_layer_norm_gamma_momentum", (64,), (None,)),
        ("optimizer/0000/iteration", (), ()),
        ("model/0003/encoder/feedforward_other/kernel", (64, 256), (None, None)),
    ],
)
def test_devices_share_the_large_slots_of_the_optimizer(name, shape, axes):
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:1]).reshape(1, 1), ("batch", "model"))
    placed = Cluster(mesh).place(name, np.zeros(shape, np.float32))
    assert placed.sharding.spec == jax.sharding.PartitionSpec(*axes)


@pytest.mark.parametrize("parts", [1, 4])
def test_devices_exchange_gradients_and_weights_once_and_nothing_larger(parts):
    environment = {"XLA_FLAGS": "--xla_force_host_platform_device_count=4"}
    module = "tests.trainer.pretraining.exchanged_bytes"
    child = CommandProcess(module, str(parts), environment=environment)
    exchanged, in_loops, weights = map(int, child.communicate(timeout=300)[0].split())
    # Left to itself, XLA sends the gradients of each part, and logits with them.
    assert in_loops == 0
    assert weights < exchanged < 2.2 * weights


def test_from_one_to_two_to_four_processes(whole, make_rows, tmp_path):
    options = {"data": make_rows(), "output": tmp_path}
    for number, count in enumerate((1, 2, 4)):
        processes = start(count, **options)
        if count == 4:
            said = finish(processes)
            break
        wait_for_step(tmp_path, 10 + 16 * number, processes[0])
        # Any of them may be told to stop: all do, with one checkpoint.
        processes[-1].send_signal(signal.SIGTERM)
        finish(processes, status=75)
    assert "resuming after step" in said[0]
    # The first process speaks for all.
    assert all("pretrain:" not in one for one in said[1:])
    assert_alike(tmp_path, whole)


@pytest.mark.long
def test_two_processes_killed_and_started_again(whole, make_rows, tmp_path):
    for step in (3, 20, 40):
        processes = start(2, devices=2, model_parallel=2, data=make_rows(), output=tmp_path)
        wait_for_step(tmp_path, step, processes[0])
        for process in processes:
            process.kill()
            process.communicate()
    finish(start(2, devices=2, model_parallel=2, data=make_rows(), output=tmp_path))
    assert_alike(tmp_path, whole)


@pytest.mark.long
@pytest.mark.parametrize(
    ("number", "how", "statuses"),
    [
        (1, signal.SIGKILL, [75]),
        # JAX aborts those that lose the first process, or wait 100 s for one that does not answer.
        (0, signal.SIGKILL, [75, -signal.SIGABRT]),
        (1, signal.SIGSTOP, [75, -signal.SIGABRT]),
    ],
)
def test_no_process_outlives_another(make_rows, tmp_path, number, how, statuses):
    processes = start(2, data=make_rows(), output=tmp_path)
    wait_for_step(tmp_path, 20, processes[0])
    processes[number].send_signal(how)
    other = processes[1 - number]
    said = other.communicate(timeout=200)[1]
    assert other.returncode in statuses, said
    if other.returncode == 75:
        assert "another process of this run ended or does not answer" in said.splitlines()[-1]
        assert "Traceback" not in said
    if how == signal.SIGSTOP:
        processes[number].kill()
    processes[number].communicate()


def wait_for_step(output: Path, step: int, process: CommandProcess) -> None:
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline and process.poll() is None:
        path = output / "metrics.jsonl"
        if path.exists() and path.read_bytes().count(b"\n") >= step:
            return
        time.sleep(0.005)
    pytest.fail(f"the process ended or hung before step {step}: {process.returncode}")


def test_problems_are_one_line(make_rows, tmp_path):
    (said,) = finish(start(1, devices=3, data=make_rows(), output=tmp_path, batch_size=8), status=2)
    assert said.strip().endswith(
        "--batch_size 8: cannot be shared evenly by 3 devices; give a multiple of 3"
    )
    assert "Traceback" not in said
    config = PretrainConfig(data=("x",), output="y", num_heads=2, model_parallel=4, batch_size=8)
    with pytest.raises(Exception, match=r"--model_parallel 4: cannot share 2 \(num_heads\)"):
        check_devices(config, config.dimensions(), 2)


def test_other_backends_take_one_device(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    assert join_cluster().devices == 1
    with pytest.raises(Exception, match="need KERAS_BACKEND=jax"):
        join_cluster(2)
