"""Fixtures shared by all tests."""

from __future__ import annotations

import contextlib
import gc
import io
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# The backend of what the tests run in their own process, whichever of them is first.
os.environ.setdefault("KERAS_BACKEND", "jax")

# What JAX compiles for one test it finds again for the next, in the processes that tests start too.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    _COMPILED = tempfile.TemporaryDirectory(prefix="bertmill-tests-")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _COMPILED.name
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"

# The tests' models are small: to compile them well takes longer than to run them as they are, and
# XLA's older way of emitting fused code takes half as long as its newer one.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_use_fusion_emitters=false")

# Read when gcsfs is imported, whatever imports it first: it asks the real service otherwise, and waits.
os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")

# No test asserts a time, generated ones neither: machines are slow when they are busy.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

_CHECKOUT = Path(__file__).resolve().parent.parent
_BUCKET = "bertmill-tests"


# Whoever gets one of these last is waited for by all others.
_SLOWEST = (
    "tests/trainer/models/test_on_jax.py",
    "tests/trainer/pretraining/test_cluster.py",
    "tests/trainer/test_pretrain.py",
    "tests/golden/test_golden.py",
    "tests/trainer/finetuning/test_finetune_runs.py",
    "tests/workflows/test_workflows.py",
    "tests/trainer/test_finetune.py",
    "tests/trainer/models/test_on_other_backends.py",
    "tests/trainer/presets/test_huggingface.py",
    "tests/trainer/test_export.py",
    "tests/trainer/pretraining/test_step.py",
    "tests/trainer/pretraining/test_next_sentence.py",
    "tests/trainer/test_remote_runs.py",
    "tests/trainer/test_full_disk.py",
    "tests/trainer/tokenizers/test_word_piece_vocabulary.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The slowest files first."""
    order = {name: place for place, name in enumerate(_SLOWEST)}
    items.sort(key=lambda item: order.get(item.nodeid.split("::")[0], len(order)))


def pytest_collection_finish() -> None:
    """What is imported by now stays: the garbage collector need not look through it again, nor as
    often through the many objects of programs that JAX traces."""
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


@pytest.fixture(scope="module", autouse=True)
def same_weights_every_time() -> None:
    """Seeds the generator that Keras draws the seeds of weights from where none is given: weights
    that learn slowly are drawn now and then, and a test of learning would fail on them."""
    random.seed(0)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder with real test data: $BERTMILL_DATA, else ../shared/data beside the checkout."""
    named = os.environ.get("BERTMILL_DATA")
    folder = Path(named) if named else _CHECKOUT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"real test data not found: {folder} (set BERTMILL_DATA)")
    return folder


@pytest.fixture(scope="session")
def storage_emulator() -> Iterator[str]:
    """The address of a running emulator with one bucket; its environment is set for all clients."""
    pytest.importorskip("google.cloud.storage", reason="needs the extra gcp")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "gcp_storage_emulator", "start", "--in-memory"]
    command += ["--host=127.0.0.1", f"--port={port}", f"--default-bucket={_BUCKET}"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    changed = pytest.MonkeyPatch()
    changed.setenv("STORAGE_EMULATOR_HOST", address)
    try:
        _wait_until_up(process, address)
        yield address
    finally:
        changed.undo()
        process.terminate()
        process.wait(10)


@pytest.fixture(scope="session")
def pretrain_here() -> Callable[..., str]:
    """``pretrain_here(status, **options)``: ``python -m trainer.pretrain`` in this process, for tests
    that need none of their own. Returns what it said on standard error."""

    def run(status: int = 0, **options: object) -> str:
        import keras

        from trainer.pretrain import pretrain
        from trainer.pretraining.config import PretrainConfig
        from trainer.pretraining.startup import run_trainer_command

        flags = [f"--{name}={value}" for name, value in options.items()]
        said, ended = io.StringIO(), 0
        # As in a process of its own, layers are numbered from the first.
        keras.utils.clear_session()
        with contextlib.redirect_stderr(said):
            try:
                run_trainer_command(PretrainConfig, pretrain, "pretrain", argv=flags)
            except SystemExit as end:
                ended = int(end.code or 0)
        assert ended == status, said.getvalue()
        return said.getvalue()

    return run


def _wait_until_up(process: subprocess.Popen, address: str) -> None:
    for _ in range(300):
        assert process.poll() is None, "the storage emulator ended at once: is it installed?"
        try:
            urllib.request.urlopen(f"{address}/storage/v1/b", timeout=5).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise TimeoutError(f"the storage emulator does not answer at {address}")


@pytest.fixture
def bucket_folder(storage_emulator) -> str:
    """A gs:// folder of the test's own."""
    assert os.environ["STORAGE_EMULATOR_HOST"] == storage_emulator
    return f"gs://{_BUCKET}/{uuid.uuid4().hex}"
