"""One process at a time writes to a folder, whatever stands where the lock should."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from pipelines.errors import UserError
from pipelines.storage import folder_lock
from pipelines.storage.folder_lock import lock_folder


def test_a_lock_whose_file_is_gone_is_none(tmp_path, monkeypatch):
    """Whoever holds the lock deletes its file at the end: between our opening and locking it."""
    opened = []
    open_lock = folder_lock._open

    def open_and_delete(path):
        descriptor = open_lock(path)
        opened.append(descriptor)
        if len(opened) == 1:
            Path(path).unlink()
        return descriptor

    monkeypatch.setattr(folder_lock, "_open", open_and_delete)
    lock_folder(str(tmp_path))
    assert len(opened) == 2
    with open(tmp_path / ".lock", "rb") as other, pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    lock_folder(os.path.join(str(tmp_path), "."))
    assert len(opened) == 2, "it is ours already"


def test_what_is_in_the_place_of_the_lock_stays_as_it_is(tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("text")
    places = [tmp_path / name for name in ("link", "pipe", "folder")]
    for place in places:
        place.mkdir()
    (places[0] / ".lock").symlink_to(precious)
    os.mkfifo(places[1] / ".lock")
    (places[2] / ".lock").mkdir()
    for place in places:
        with pytest.raises(UserError, match=r"/\.lock .*; remove it or choose another folder"):
            lock_folder(str(place))
    assert precious.read_text() == "text"
