"""A standalone Flink: a JobManager and TaskManagers as processes of their own, and Beam's job server."""

from __future__ import annotations

import json
import time
import urllib.request
from pathlib import Path
from typing import Any

from tests.engines import parts
from tests.engines.services import Service, free_port, start_java, start_job_server

_ROOT = Path(__file__).resolve().parents[2]
_CONF = """
jobmanager.rpc.address: 127.0.0.1
jobmanager.rpc.port: {rpc}
jobmanager.bind-host: 127.0.0.1
jobmanager.memory.process.size: 1600m
taskmanager.host: 127.0.0.1
taskmanager.bind-host: 127.0.0.1
taskmanager.numberOfTaskSlots: 1
parallelism.default: 2
rest.address: 127.0.0.1
rest.bind-address: 127.0.0.1
rest.port: {rest}
blob.server.port: {blob}
heartbeat.interval: 5000
heartbeat.timeout: 30000
restart-strategy: fixed-delay
restart-strategy.fixed-delay.attempts: 10
restart-strategy.fixed-delay.delay: 1 s
io.tmp.dirs: {folder}
"""
_LOGGING = """
rootLogger.level = INFO
rootLogger.appenderRef.console.ref = Console
appender.console.name = Console
appender.console.type = CONSOLE
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d %-5p %c %m%n
"""
# All of them are needed where Flink's own scripts, which work them out, do not start it.
_SIZES = {
    "cpu.cores": "1.0",
    "memory.task.heap.size": "512m",
    "memory.task.off-heap.size": "64m",
    "memory.network.min": "128m",
    "memory.network.max": "128m",
    "memory.managed.size": "256m",
    "memory.jvm-overhead.min": "192m",
    "memory.jvm-overhead.max": "192m",
    "memory.jvm-metaspace.size": "256m",
    "memory.framework.heap.size": "128m",
    "memory.framework.off-heap.size": "128m",
}
_ENTRY = "org.apache.flink.runtime"


class Flink:
    """``endpoint``: the address of the job server; ``task_managers``: by their names."""

    def __init__(self, folder: Path, workers: Path) -> None:
        self._folder = folder
        self._jars = parts.flink()
        self._rest = free_port()
        # What a worker needs reaches the TaskManagers' children with their environment.
        self._environment = {
            "BEAM_BOOT": str(parts.boot_program()),
            "BERTMILL_PYTHON": str(workers / "bin" / "python"),
        }
        (folder / "conf").mkdir()
        conf = _CONF.format(rpc=free_port(), blob=free_port(), rest=self._rest, folder=folder)
        (folder / "conf" / "flink-conf.yaml").write_text(conf)
        (folder / "log4j.properties").write_text(_LOGGING)
        self.task_managers: dict[str, Service] = {}
        self._services = [
            self._start("jobmanager", "entrypoint.StandaloneSessionClusterEntrypoint")
        ]
        self._services[0].wait_for(self._rest)
        for name in ("tm1", "tm2"):
            self.start_task_manager(name)
        service, self.endpoint = start_job_server(
            folder,
            parts.flink_job_server(),
            "org.apache.beam.runners.flink.FlinkJobServerDriver",
            f"--flink-master=127.0.0.1:{self._rest}",
        )
        self._services.append(service)
        self.wait_for_slots()

    def beam_args(self) -> list[str]:
        """Beam's options of a job whose workers are processes of the TaskManagers."""
        return [
            "--runner=PortableRunner",
            f"--job_endpoint={self.endpoint}",
            "--environment_type=PROCESS",
            f"--environment_options=process_command={_ROOT / 'launch' / 'beam_worker.sh'}",
            "--environment_cache_millis=600000",
            "--parallelism=2",
        ]

    def start_task_manager(self, name: str) -> None:
        sizes = [f"taskmanager.{size}={value}" for size, value in _SIZES.items()]
        settings = [f"taskmanager.resource-id={name}", *sizes]
        self.task_managers[name] = self._start(
            name,
            "taskexecutor.TaskManagerRunner",
            *(word for setting in settings for word in ("-D", setting)),
        )

    def wait_for_slots(self, count: int = 2) -> None:
        """Until that many are free."""
        for _ in range(600):
            if self.ask("overview")["slots-available"] == count:
                return
            time.sleep(0.1)
        raise TimeoutError(f"{self.ask('overview')}: see the logs in {self._folder}")

    def ask(self, what: str) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{self._rest}/{what}", timeout=10) as answer:
            return json.load(answer)

    def stop(self) -> None:
        for service in (*self.task_managers.values(), *reversed(self._services)):
            service.stop()

    def _start(self, name: str, main: str, *arguments: str) -> Service:
        logging = f"-Dlog4j.configurationFile=file:{self._folder / 'log4j.properties'}"
        return start_java(
            self._folder / f"{name}.log",
            self._jars,
            f"{_ENTRY}.{main}",
            "--configDir",
            str(self._folder / "conf"),
            *arguments,
            options=("-Xmx800m", "-XX:MaxDirectMemorySize=512m", logging),
            environment=self._environment,
        )
