"""Runs ``python -m MODULE`` in a process of its own, forked from one that has imported the libraries.

Importing Beam, JAX and Keras takes longer than most commands of a test. A forked process is a real
one all the same: it has its own memory, it can be killed, and it ends with the command's status.
Where the start itself is tested, or where modules must be missing, a test starts Python instead.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import resource
import runpy
import signal
import sys
import threading
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import IO, Any

_ROOT = Path(__file__).resolve().parent.parent
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tests.preloaded"])

# A model that compiles quickly; the same one everywhere, so that it compiles once.
TINY = {
    "num_layers": 1,
    "num_heads": 2,
    "hidden_dim": 16,
    "intermediate_dim": 32,
    "batch_size": 8,
    "learning_rate": 0.01,
    "log_every": 1,
    "checkpoint_every": 10,
}


def flags_of(**options: object) -> list[str]:
    """``name=value`` as flags; ``True`` gives the bare flag."""
    return [f"--{n}" if v is True else f"--{n}={v}" for n, v in options.items()]


def _main(
    module: str,
    arguments: list[str],
    environment: dict[str, str],
    streams: list[Connection],
    file_size: int | None,
) -> None:
    """The forked process."""
    if file_size is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, file_size))
    os.chdir(_ROOT)
    os.environ.clear()
    os.environ.update(environment)
    for number, stream in enumerate(streams, 1):
        os.dup2(stream.fileno(), number)
        stream.close()
    sys.argv = [module, *arguments]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    finally:
        # multiprocessing leaves these out.
        atexit._run_exitfuncs()


class CommandProcess:
    """A running command, used like ``subprocess.Popen`` in text mode with pipes for both streams.

    No file that it writes can grow beyond ``file_size`` bytes.
    """

    def __init__(
        self,
        module: str,
        *arguments: str,
        environment: Mapping[str, str] | None = None,
        file_size: int | None = None,
    ) -> None:
        merged = {**os.environ, "KERAS_BACKEND": "jax", **(environment or {})}
        # The process is not started anew for the sake of huge pages.
        merged.setdefault("GLIBC_TUNABLES", "glibc.malloc.hugetlb=0")
        ends = [_CONTEXT.Pipe(duplex=False) for _ in range(2)]
        self._process = _CONTEXT.Process(
            target=_main,
            args=(module, list(arguments), merged, [writer for _, writer in ends], file_size),
        )
        self._process.start()
        self.stdout, self.stderr = (_text_of(*end) for end in ends)
        assert self._process.pid is not None
        self.pid: int = self._process.pid

    @property
    def returncode(self) -> int | None:
        """The exit status, or the negative number of the signal that ended it; None while it runs."""
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self.returncode is None:
            raise TimeoutError(f"process {self.pid} still runs after {timeout} s")
        return self.returncode

    def send_signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """What it wrote to both streams until its end."""
        written = ["", ""]

        def read(number: int, stream: IO[str]) -> None:
            with stream:
                written[number] = stream.read()

        readers = [
            threading.Thread(target=read, args=pair)
            for pair in enumerate((self.stdout, self.stderr))
        ]
        for reader in readers:
            reader.start()
        self.wait(timeout)
        for reader in readers:
            reader.join()
        return written[0], written[1]

    def __enter__(self) -> CommandProcess:
        return self

    def __exit__(self, *error: object) -> None:
        if self.returncode is None and error[0] is not None:
            self.kill()
        self.wait()
        self.stdout.close()
        self.stderr.close()


def _text_of(reader: Connection, writer: Connection) -> IO[str]:
    writer.close()
    stream = os.fdopen(os.dup(reader.fileno()), encoding="utf-8", errors="replace")
    reader.close()
    return stream


def run_command_process(
    module: str, *arguments: str, status: int = 0, **limits: Any
) -> tuple[str, str]:
    """Runs a command to its end, which must be ``status``; returns its output and its errors."""
    process = CommandProcess(module, *arguments, **limits)
    written = process.communicate(timeout=600)
    assert process.returncode == status, written[1]
    return written
