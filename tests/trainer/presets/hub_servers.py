"""Stand-ins for two model hubs on this machine: as much of their HTTP as their own libraries use to make
a model, upload its files, and read them again."""

from __future__ import annotations

import base64
import hashlib
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import yaml

TOKEN = "secret-token-of-the-tests"
# What the real hub stores apart from git, by its .gitattributes.
_LARGE = (".safetensors", ".h5")


class Hub(ThreadingHTTPServer):
    """``files``: path -> content of the one model; ``private``: as it was made; ``refuses``: a status
    that every request gets; ``takes_all``: large files are files as others; ``calls``: all requests."""

    def __init__(self, handler: type[BaseHTTPRequestHandler], port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), handler)
        self.files: dict[str, bytes] = {}
        self.blobs: dict[str, bytes] = {}
        self.private: bool | None = None
        self.refuses = 0
        self.takes_all = False
        self.calls: list[str] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def log_message(self, *_: object) -> None:
        """Says nothing."""

    def take(self) -> bytes:
        """The body of the request; notes the request."""
        self.server.calls.append(f"{self.command} {self.path}")
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def give(self, content: object, status: int = 200, **headers: str) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        kind = "application/octet-stream" if isinstance(content, bytes) else "application/json"
        self.send_response(status)
        for name, value in {"Content-Type": kind, **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def is_refused(self) -> bool:
        known = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        status = self.server.refuses or (0 if known else 401)
        if status:
            self.give({"error": "no", "message": "no", "code": status}, status)
        return bool(status)


class _HuggingFace(_Handler):
    def do_POST(self) -> None:
        body, server = self.take(), self.server
        if self.is_refused():
            return
        if self.path == "/api/repos/create":
            asked = json.loads(body)
            page = {"url": f"{server.address}/{asked['organization']}/{asked['name']}"}
            if server.private is not None:
                self.give({"error": "You already created this model repo", **page}, 409)
                return
            server.private = asked["visibility"] == "private"
            self.give(page)
        elif self.path == "/api/validate-yaml":
            assert yaml.safe_load(json.loads(body)["content"].split("---")[1])["pipeline_tag"]
            self.give({"errors": [], "warnings": []})
        elif "/preupload/" in self.path:
            modes = [
                {
                    "path": file["path"],
                    "uploadMode": self._mode(file["path"]),
                    "shouldIgnore": False,
                }
                for file in json.loads(body)["files"]
            ]
            self.give({"files": modes})
        elif self.path.endswith("/info/lfs/objects/batch"):
            objects = [
                {**asked, "actions": {"upload": {"href": f"{server.address}/blob/{asked['oid']}"}}}
                for asked in json.loads(body)["objects"]
            ]
            self.give({"transfer": "basic", "objects": objects})
        elif "/commit/" in self.path:
            for line in map(json.loads, body.splitlines()):
                value = line["value"]
                if line["key"] == "file":
                    server.files[value["path"]] = base64.b64decode(value["content"])
                elif line["key"] == "lfsFile":
                    server.files[value["path"]] = server.blobs[value["oid"]]
            page = f"{server.address}/{'/'.join(self.path.split('/')[3:5])}/commit/{'0' * 40}"
            self.give({"commitUrl": page, "commitOid": "0" * 40})
        else:
            self.give({"error": "unknown"}, 404)

    def _mode(self, path: str) -> str:
        is_large = path.endswith(_LARGE) and not self.server.takes_all
        return "lfs" if is_large else "regular"

    def do_PUT(self) -> None:
        content = self.take()  # Signed: without the token.
        assert hashlib.sha256(content).hexdigest() == self.path.split("/")[-1]
        self.server.blobs[self.path.split("/")[-1]] = content
        self.give(b"")

    def do_HEAD(self) -> None:
        self.take()
        content = self.server.files.get(self.path.split("/resolve/main/")[-1])
        if content is None:
            self.give({}, 404, X_Error_Code="EntryNotFound", X_Repo_Commit="0" * 40)
        else:
            etag = f'"{hashlib.sha256(content).hexdigest()}"'
            self.give(content, ETag=etag, X_Repo_Commit="0" * 40)

    def do_GET(self) -> None:
        self.do_HEAD()


class _Kaggle(_Handler):
    """Every call of its API is a POST to /api/v1/SERVICE/METHOD; contents go to signed addresses."""

    def do_POST(self) -> None:
        body, server = json.loads(self.take()), self.server
        if self.is_refused():
            return
        method = self.path.split("/")[-1]
        if method == "GetModel":
            self.give({"code": 404, "message": "not found"}, 404)
        elif method == "CreateModel":
            server.private = body["isPrivate"]
            self.give({"id": 1})
        elif method == "StartBlobUpload":
            token = f"{len(server.blobs)}/{body['name']}"
            server.blobs[token] = b""
            self.give({"token": token, "createUrl": f"{server.address}/blob/{token}"})
        elif method == "CreateModelInstance":
            self._place("", body["body"])
            self.give({"id": 2})
        else:
            self.give({"code": 404, "message": method}, 404)

    def _place(self, folder: str, content: dict) -> None:
        for file in content.get("files", ()):
            self.server.files[folder + file["token"].split("/")[1]] = self.server.blobs[
                file["token"]
            ]
        for inner in content.get("directories", ()):
            self._place(f"{folder}{inner['name']}/", inner)

    def do_PUT(self) -> None:
        self.server.blobs[self.path.removeprefix("/blob/")] = self.take()
        self.give(b"")


@contextmanager
def serve_hugging_face() -> Iterator[Hub]:
    """A hub that ``HF_ENDPOINT`` = its address names."""
    with _serving(Hub(_HuggingFace)) as hub:
        yield hub


@contextmanager
def serve_kaggle(handler: type[BaseHTTPRequestHandler] = _Kaggle) -> Iterator[Hub | None]:
    """A hub for kagglehub with ``KAGGLE_API_ENVIRONMENT=TEST``; None: its port is taken."""
    with socket.socket() as probe:
        taken = probe.connect_ex(("127.0.0.1", 7777)) == 0
    if taken:
        yield None
        return
    with _serving(Hub(handler, 7777)) as hub:
        yield hub


@contextmanager
def _serving(hub: Hub) -> Iterator[Hub]:
    thread = threading.Thread(target=hub.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        hub.server_close()
        thread.join()
