"""A stand-in for Dataflow's REST API on loopback: it records the job that it is given and says that it
is done. Nothing is executed."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class DataflowService(ThreadingHTTPServer):
    """``jobs``: what was submitted, by project and region."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.jobs: dict[str, dict[str, Any]] = {}

    @property
    def address(self) -> str:
        # For this name Beam speaks plain HTTP.
        return f"http://localhost:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: DataflowService

    def log_message(self, *_: object) -> None:
        """Says nothing."""

    def do_POST(self) -> None:
        job = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        _, _, _, project, _, region, _ = self.path.split("?")[0].split("/")
        self.server.jobs[f"{project} {region}"] = job
        self._give(job | {"id": "1", "currentState": "JOB_STATE_PENDING"})

    def do_GET(self) -> None:
        self._give({"id": "1", "currentState": "JOB_STATE_DONE"})

    def _give(self, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def dataflow_service() -> Iterator[DataflowService]:
    """Serves while the block lasts."""
    server = DataflowService()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
