"""A server between a program and the storage emulator that answers some requests as a store in trouble.

Of so many requests in a hundred, drawn by a seed, each gets one of these in turn: 429; 503; a connection
that is reset before the store sees the request, or after it did what was asked; an answer that ends too
early; one that comes late. All others pass through.
"""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import numpy as np

from pipelines.keyed_random import below, fold, purpose_key

KINDS = ("429", "503", "reset", "reset after", "truncated", "late")
_LATE_SECONDS = 1.0
# An answer that drips comes in so many pieces, with so long before each.
_DRIPS, _DRIP_SECONDS = 8, 0.1
# Not passed on from one connection to the next.
_HOPS = ("connection", "transfer-encoding", "content-length", "keep-alive", "server", "date")


class FaultyStore(ThreadingHTTPServer):
    """``store``: the emulator's address; ``percent`` of requests fail; ``down``: after ``down_after``
    requests all do, as one of KINDS or "silent", another status, or "drip". ``faults``: how many of
    which kind there were; ``requests``: of all."""

    daemon_threads = True

    def __init__(self, store: str, percent: int, seed: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.store, self.percent, self.key = (
            urlsplit(store).netloc,
            percent,
            purpose_key(seed, "faults"),
        )
        self.down, self.down_after = "", 0
        self.faults: Counter[str] = Counter()
        self.requests = 0
        self._lock = threading.Lock()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def draw(self) -> str:
        """What happens to the next request: one of KINDS, or nothing."""
        with self._lock:
            self.requests += 1
            kind = self.down if self.requests > self.down_after else ""
            if not kind and below(fold(self.key, self.requests), 100) < np.uint64(self.percent):
                kind = KINDS[self.faults.total() % len(KINDS)]
            if kind:
                self.faults[kind] += 1
            return kind

    def handle_error(self, *_: object) -> None:
        """Says nothing of clients that are gone."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FaultyStore

    def log_message(self, *_: object) -> None:
        """Says nothing."""

    def handle_one_request(self) -> None:
        self.raw_requestline = self.rfile.readline(1 << 16)
        if not self.raw_requestline or not self.parse_request():
            self.close_connection = True
            return
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        kind = self.server.draw()
        if kind.isdigit():
            self._answer(
                int(kind), {}, b'{"error": {"code": %s, "message": "in trouble"}}' % kind.encode()
            )
        elif kind == "reset":
            self._reset()
        elif kind == "silent":
            while self.server.down:
                time.sleep(0.05)
            self._reset()
        else:
            status, headers, content = self._ask(body)
            if kind == "late":
                time.sleep(_LATE_SECONDS)
            if kind == "reset after":
                self._reset()
            else:
                self._answer(status, headers, content, kind)

    def _ask(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        """What the store itself says. It sees this server's name, and gives addresses of it."""
        connection = HTTPConnection(self.server.store, timeout=60)
        try:
            connection.request(self.command, self.path, body, dict(self.headers.items()))
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            connection.close()

    def _answer(self, status: int, headers: dict[str, str], content: bytes, kind: str = "") -> None:
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in _HOPS:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if kind == "truncated":
            content = content[: len(content) // 2]
            self.close_connection = True
        if self.command != "HEAD":
            size = -(-len(content) // _DRIPS) if kind == "drip" else len(content)
            for at in range(0, len(content), size or 1):
                if kind == "drip":
                    time.sleep(_DRIP_SECONDS)
                self.wfile.write(content[at : at + size])

    def _reset(self) -> None:
        linger = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.close_connection = True


@contextmanager
def faulty_store(store: str, percent: int, seed: int = 0) -> Iterator[FaultyStore]:
    """Serves while the block lasts."""
    server = FaultyStore(store, percent, seed)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.down = ""
        server.shutdown()
        server.server_close()
        thread.join()
