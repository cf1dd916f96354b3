"""The processes of this machine that a fault is to hit: found through /proc, signalled by their ids."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from pipelines.storage.files import TEMPORARY

_WORKER = "sdk_worker_main"


def wait_until(holds: Callable[[], object], what: str, seconds: float = 300) -> None:
    ends = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > ends:
            raise TimeoutError(f"{what}: not so after {seconds:.0f} s")
        time.sleep(0.1)


def descendants(pid: int) -> list[int]:
    """Those of a process, parents first."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(stat.parent.name))
    found, rest = [], [pid]
    while rest:
        found += (below := children.get(rest.pop(), []))
        rest += below
    return found


def workers_of(pid: int) -> list[int]:
    """The Python workers of a process."""
    return [child for child in descendants(pid) if _WORKER in _command(child)]


def is_running(pid: int) -> bool:
    return bool(_command(pid))


def stop_in_mid_shard(engines: list[int], output: Path) -> tuple[int, int]:
    """Waits until a worker of one of these processes writes a shard and stops it there (SIGSTOP).

    Returns the process and its worker.
    """
    workers: dict[int, int] = {}
    looked = 0.0
    for _ in _for_a_while():
        if time.monotonic() - looked > 1:
            workers = {worker: engine for engine in engines for worker in workers_of(engine)}
            looked = time.monotonic()
        if not list(output.glob(f"{TEMPORARY}*record")):
            continue
        send(workers, signal.SIGSTOP)
        writing = [w for w in workers if any(_opens(w, p) for p in _unfinished(output))]
        send(set(workers) - set(writing[:1]), signal.SIGCONT)
        if writing:
            return workers[writing[0]], writing[0]
    raise TimeoutError(f"nothing was written to {output}")


def send(pids: object, number: signal.Signals) -> None:
    """A signal to those that still run."""
    for pid in pids:  # type: ignore[attr-defined]
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def _for_a_while(seconds: float = 400) -> Iterator[None]:
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        yield
        time.sleep(0.001)


def _unfinished(output: Path) -> list[str]:
    """What is there now: a worker that was stopped may just have given a file its final name."""
    return [str(path) for path in output.glob(f"{TEMPORARY}*record")]


def _opens(pid: int, path: str) -> bool:
    for link in Path(f"/proc/{pid}/fd").glob("*"):
        with suppress(OSError):
            if os.readlink(link) == path:
                return True
    return False


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""
