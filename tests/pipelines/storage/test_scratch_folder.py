"""What commands keep for a while is gone after them, and after the next where they were killed."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile

import pytest

from pipelines.storage.scratch_folder import scratch_folder

_HANGS = """
import tempfile, time
from pipelines.storage.scratch_folder import scratch_folder
with scratch_folder():
    tempfile.mkdtemp()
    print(tempfile.gettempdir(), flush=True)
    time.sleep(600)
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Where temporary files go."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


def test_all_temporary_files_are_in_it_and_go_with_it(place):
    with scratch_folder():
        (folder,) = place.iterdir()
        assert os.environ["TMPDIR"] == str(folder)
        assert os.path.dirname(tempfile.mkdtemp()) == str(folder)
    assert list(place.iterdir()) == []
    assert os.environ["TMPDIR"] == str(place)


def test_that_of_a_killed_process_goes_with_the_next(place):
    (place / "bertmill-text").mkdir()
    others = place / f"bertmill-{os.getpid()}-others"
    others.mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", _HANGS], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        folder = process.stdout.readline().strip()
        with scratch_folder():
            pass
        assert os.path.isdir(folder), "its process runs"
        process.kill()
    with scratch_folder():
        assert not os.path.exists(folder)
    assert sorted(path.name for path in place.iterdir()) == [others.name, "bertmill-text"]


def test_what_libraries_do_at_exit_finds_it_still_there():
    code = (
        "import atexit, os, tempfile\n"
        "from pipelines.storage.scratch_folder import scratch_folder\n"
        "with scratch_folder(until_exit=True):\n"
        "    made = tempfile.mkdtemp()\n"
        "    atexit.register(lambda: print(os.path.isdir(made), os.path.dirname(made)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    there, folder = done.stdout.split()
    assert there == "True"
    assert not os.path.exists(folder)
