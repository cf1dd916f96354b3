"""One process at a time writes to a folder, whatever stands where the lock should."""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import re
import signal
import socket
import time
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
    linked = tmp_path / "linked"
    for place in (*places, linked):
        place.mkdir()
    (places[0] / ".lock").symlink_to(precious)
    os.mkfifo(places[1] / ".lock")
    (places[2] / ".lock").mkdir()
    for place in places:
        with pytest.raises(UserError, match=r"/\.lock .*; remove it or choose another folder"):
            lock_folder(str(place))
    (linked / ".lock").hardlink_to(precious)
    lock_folder(str(linked))
    assert precious.read_text() == "text"


def take_turns(folder, turns, given, wrong):
    """Takes the lock and gives it back until there were enough turns of all processes."""
    mark = os.path.join(folder, "mark")
    while given.value < turns:
        try:
            lock_folder(folder)
        except UserError:
            continue
        try:
            os.close(os.open(mark, os.O_CREAT | os.O_EXCL))
            # Without a lock of its own: with two at a time, some turns would be lost.
            given.value += 1
            os.unlink(mark)
        except FileExistsError:
            wrong.value += 1
        folder_lock._unlock(folder_lock._path_of(folder))


def test_no_two_processes_hold_it_in_ten_thousand_turns(tmp_path):
    fork = multiprocessing.get_context("fork")
    given, wrong = fork.Value("q", 0, lock=False), fork.Value("q", 0, lock=False)
    workers = [
        fork.Process(target=take_turns, args=(str(tmp_path), 10_000, given, wrong))
        for _ in range(4)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    assert wrong.value == 0
    assert 10_000 <= given.value < 10_000 + len(workers)
    assert list(tmp_path.iterdir()) == []


def hold_and_fork(folder, pipe):
    lock_folder(folder)
    child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,))
    child.start()
    pipe.send(child.pid)
    time.sleep(600)


def test_neither_a_stopped_process_nor_the_child_of_a_killed_one_is_waited_for(tmp_path):
    fork = multiprocessing.get_context("fork")
    reader, writer = fork.Pipe()
    holder = fork.Process(target=hold_and_fork, args=(str(tmp_path), writer))
    holder.start()
    child = reader.recv()
    assert holder.pid is not None
    os.kill(holder.pid, signal.SIGSTOP)
    who = rf"is writing to .* \(process {holder.pid} on {re.escape(socket.gethostname())}\); wait"
    with pytest.raises(UserError, match=who):
        lock_folder(str(tmp_path))
    holder.kill()
    holder.join()
    lock_folder(str(tmp_path))
    assert f"process {os.getpid()} on" in (tmp_path / ".lock").read_text()
    os.kill(child, signal.SIGKILL)
