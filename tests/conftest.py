"""Fixtures shared by all tests."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# The backend of what the tests run in their own process, whichever of them is first.
os.environ.setdefault("KERAS_BACKEND", "jax")

# No test asserts a time, generated ones neither: machines are slow when they are busy.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

_CHECKOUT = Path(__file__).resolve().parent.parent
_BUCKET = "bertmill-tests"


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
    changed.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
    try:
        _wait_until_up(process, address)
        yield address
    finally:
        changed.undo()
        process.terminate()
        process.wait(10)


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
