"""Programs that run while a test needs them, on free ports of this machine alone."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from tests.engines.parts import java

# What Java must open of itself for the engines of before Java 17.
_OPENED = ("lang util nio math net text time io util.concurrent util.concurrent.atomic").split()
_JAVA = (
    "--add-exports=java.base/sun.net.util=ALL-UNNAMED",
    "--add-exports=java.rmi/sun.rmi.registry=ALL-UNNAMED",
    "--add-exports=java.security.jgss/sun.security.krb5=ALL-UNNAMED",
    "--add-exports=java.base/sun.nio.ch=ALL-UNNAMED",
    *(
        f"--add-opens=java.base/java.{name}=ALL-UNNAMED"
        for name in (*_OPENED, "lang.invoke", "lang.reflect")
    ),
    "--add-opens=java.base/sun.nio.ch=ALL-UNNAMED",
    "--add-opens=java.base/sun.security.action=ALL-UNNAMED",
    "--add-opens=java.base/sun.util.calendar=ALL-UNNAMED",
    "-XX:+UseSerialGC",
)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Service:
    """A running program; what it says is in ``log``."""

    def __init__(self, log: Path, *command: str, environment: Mapping[str, str] = {}) -> None:
        self.log = log
        with log.open("wb") as file:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=os.environ | environment,
                cwd=log.parent,
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    def wait_for(self, port: int) -> None:
        for _ in range(900):
            assert self.process.poll() is None, self.log.read_text()[-4000:]
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return
            time.sleep(0.1)
        raise TimeoutError(f"nothing answers at {port}:\n{self.log.read_text()[-4000:]}")

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.process.wait()

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


def start_java(
    log: Path,
    jars: Path,
    main: str,
    *arguments: str,
    options: tuple[str, ...] = ("-Xmx1g",),
    environment: Mapping[str, str] = {},
) -> Service:
    command = (java(), *_JAVA, *options, "-cp", f"{jars}/*", main, *arguments)
    return Service(log, *command, environment=environment)


def start_job_server(
    folder: Path, jars: Path, main: str, *arguments: str, options: tuple[str, ...] = ()
) -> tuple[Service, str]:
    """One of Beam's job servers, and its address."""
    job, artifact, expansion = free_port(), free_port(), free_port()
    service = start_java(
        folder / "job-server.log",
        jars,
        main,
        "--job-host=127.0.0.1",
        f"--job-port={job}",
        f"--artifact-port={artifact}",
        f"--expansion-port={expansion}",
        f"--artifacts-dir={folder / 'artifacts'}",
        *arguments,
        options=("-Xmx1500m", *options),
        environment={"SPARK_LOCAL_IP": "127.0.0.1"},
    )
    service.wait_for(job)
    return service, f"127.0.0.1:{job}"
