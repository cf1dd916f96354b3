"""A folder appears whole, or what was there before stays; a kill leaves nothing behind for long."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.storage.replace_folder import publish_folder, recover_folder

_ROOT = Path(__file__).resolve().parents[3]


def fill(folder, text):
    with publish_folder(str(folder)) as temporary:
        Path(temporary, "file").write_text(text)


def test_the_new_one_takes_the_place_of_the_old(tmp_path):
    folder = tmp_path / "made" / "preset"
    for text in ("old", "new"):
        fill(folder, text)
        assert (folder / "file").read_text() == text
        assert os.listdir(folder.parent) == ["preset"]


def test_what_fails_changes_nothing(tmp_path, monkeypatch):
    fill(tmp_path / "preset", "old")
    with pytest.raises(ValueError, match="no"), publish_folder(str(tmp_path / "preset")):
        raise ValueError("no")
    rename = os.rename

    def failing(source, target):
        if ".incomplete-" in str(source):
            raise OSError(28, "No space left on device")
        rename(source, target)

    monkeypatch.setattr(os, "rename", failing)
    with pytest.raises(OSError, match="No space"):
        fill(tmp_path / "preset", "new")
    assert os.listdir(tmp_path) == ["preset"]
    assert (tmp_path / "preset" / "file").read_text() == "old"


def test_a_link_stays_a_link(tmp_path):
    fill(tmp_path / "disk" / "preset", "old")
    (tmp_path / "preset").symlink_to(tmp_path / "disk" / "preset")
    fill(tmp_path / "preset", "new")
    assert (tmp_path / "preset").is_symlink()
    assert (tmp_path / "disk" / "preset" / "file").read_text() == "new"
    assert sorted(os.listdir(tmp_path)) == ["disk", "preset"]


_HOLDING = """
import os, sys
from pipelines.storage.replace_folder import publish_folder
rename, stop = os.rename, int(sys.argv[2])
renamed = [0]
def waiting(*paths):
    if renamed[0] == stop:
        print("ready", flush=True)
        input()
    rename(*paths)
    renamed[0] += 1
os.rename = waiting
with publish_folder(sys.argv[1]) as temporary:
    open(temporary + "/file", "w").write("new")
if renamed[0] == stop:
    print("ready", flush=True)
    input()
"""


@pytest.mark.parametrize(("stop", "text"), [(0, "old"), (1, "old"), (2, "new")])
def test_a_killed_one_is_undone_and_a_living_one_left_alone(tmp_path, stop, text):
    folder = tmp_path / "preset"
    fill(folder, "old")
    # Of another folder, whose name ends alike.
    (tmp_path / f".incomplete-{'0' * 32}-my-preset").mkdir()
    writer = subprocess.Popen(
        [sys.executable, "-c", _HOLDING, str(folder), str(stop)],
        cwd=_ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert writer.stdout is not None
    assert writer.stdout.readline() == b"ready\n"
    before = sorted(os.listdir(tmp_path))
    recover_folder(str(folder))
    assert sorted(os.listdir(tmp_path)) == before
    writer.send_signal(signal.SIGKILL)
    writer.communicate()
    recover_folder(str(folder))
    assert sorted(os.listdir(tmp_path)) == [f".incomplete-{'0' * 32}-my-preset", "preset"]
    assert (folder / "file").read_text() == text
