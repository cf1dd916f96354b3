"""Presets from a hub that answers with anything: one line, and nothing outside the cache is written."""

from __future__ import annotations

import http.server
import json
import threading
from pathlib import Path

import pytest

from pipelines.errors import UserError
from tests.trainer.presets.hub_servers import serve_kaggle
from trainer.presets.fetch import find_file

constants = pytest.importorskip("huggingface_hub.constants")
_BODY = b'{"a": 1}'
_NAMED = {"ETag": f'"{"a" * 40}"', "X-Repo-Commit": "b" * 40}
# Status, headers, and how many bytes the answer claims to have.
_ANSWERS = {
    "good": (200, _NAMED, len(_BODY)),
    "a path as ETag": (200, _NAMED | {"ETag": '"../../../../outside"'}, len(_BODY)),
    "a path for links": (200, _NAMED | {"X-Linked-Etag": '"/outside"'}, len(_BODY)),
    "a path as commit": (200, _NAMED | {"X-Repo-Commit": "../../../outside"}, len(_BODY)),
    "more than any disk holds": (200, _NAMED, 10**18),
    "no hub": (200, {}, len(_BODY)),
    "a circle": (302, _NAMED | {"Location": "/again"}, 0),
    "no permission": (401, {}, 0),
    "not found": (404, {}, 0),
}


class Answers(http.server.BaseHTTPRequestHandler):
    """Gives answers that claim to be of any length."""

    def give(self, status, headers, content, claimed):
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(claimed)}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments):
        pass


@pytest.fixture(params=_ANSWERS)
def answer(request, tmp_path, monkeypatch) -> str:
    """The answer that a server gives to everything."""
    status, headers, claimed = _ANSWERS[request.param]

    class Answer(Answers):
        def do_HEAD(self):
            self.give(status, headers, b"", claimed)

        def do_GET(self):
            self.give(status, headers, _BODY, claimed)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    template = f"{address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "a" / "cache"))
    yield request.param
    server.shutdown()
    server.server_close()


def test_answers(answer, tmp_path):
    if answer == "good":
        path = find_file("hf://some/bert", "config.json")
        assert path is not None
        assert Path(path).read_bytes() == _BODY
    else:
        with pytest.raises(UserError, match=r"config\.json could not be downloaded") as caught:
            find_file("hf://some/bert", "config.json")
        assert "\n" not in str(caught.value)
    written = {path for path in tmp_path.rglob("*") if path.is_file()}
    assert [path for path in written if tmp_path / "a" / "cache" not in path.parents] == []
    assert not Path("/outside").exists()


# What Kaggle's stand-in answers: to which version there is, and to the file; status, headers, content,
# and how many bytes it claims to have.
_KAGGLE = {
    "good": ({"versionNumber": 3}, (200, {}, _BODY, len(_BODY))),
    "a path as version": ({"versionNumber": "../../../../outside"}, (200, {}, _BODY, len(_BODY))),
    "a negative version": ({"versionNumber": -1}, (200, {}, _BODY, len(_BODY))),
    "no version": ([], (200, {}, _BODY, len(_BODY))),
    "a circle": ({"versionNumber": 3}, (302, {"Location": "/again"}, b"", 0)),
    "less than it claims": ({"versionNumber": 3}, (200, {}, _BODY, 10**15)),
    "an error": ({"versionNumber": 3}, (500, {}, b"<html>", 6)),
}


@pytest.mark.parametrize("answer", _KAGGLE)
def test_answers_of_kaggle(answer, tmp_path, monkeypatch):
    pytest.importorskip("kagglehub")
    version, (status, headers, content, claimed) = _KAGGLE[answer]

    class Answer(Answers):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            if self.path.endswith("/GetModelInstance"):
                body = json.dumps(version).encode()
                self.give(200, {}, body, len(body))
            else:
                self.do_GET()

        def do_GET(self):
            self.give(status, headers, content, claimed)

    monkeypatch.setenv("KAGGLE_API_ENVIRONMENT", "TEST")
    monkeypatch.setenv("KAGGLE_USERNAME", "somebody")
    monkeypatch.setenv("KAGGLE_KEY", "something")
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path / "a" / "cache"))
    with serve_kaggle(Answer) as hub:
        if hub is None:
            pytest.skip("port 7777 is taken")
        if answer == "good":
            path = find_file("kaggle://some/bert/keras/small", "config.json")
            assert path is not None
            assert Path(path).read_bytes() == _BODY
        else:
            with pytest.raises(UserError, match=r"config\.json could not be downloaded") as caught:
                find_file("kaggle://some/bert/keras/small", "config.json")
            assert "\n" not in str(caught.value)
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [path for path in written if tmp_path / "a" / "cache" not in path.parents] == []
