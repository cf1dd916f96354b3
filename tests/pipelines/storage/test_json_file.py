"""Small JSON files that nobody vouches for."""

from __future__ import annotations

import os

import pytest

from pipelines.errors import UserError
from pipelines.storage import json_file
from pipelines.storage.json_file import read_json


def test_an_object_comes_back(tmp_path):
    (tmp_path / "a.json").write_text('{"a": [1, {"b": null}]}')
    assert read_json(str(tmp_path / "a.json")) == {"a": [1, {"b": None}]}


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"[" * 100_000, "nested too deeply"),
        (b'{"file": "\\uD800"}', "not JSON"),
        (b'{"a":' * 100 + b"1" + b"}" * 100, "nested too deeply"),
        (b'{"a": ' + b"9" * 5000 + b"}", "not JSON"),
        (b'{"a": "\xff"}', "not JSON"),
        (b"{\n\n", "not JSON"),
        (b"", "not JSON"),
        (b"[1]", "not a JSON object"),
        (b"null", "not a JSON object"),
    ],
)
def test_anything_else_is_one_line(tmp_path, content, problem):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(
        UserError, match=rf"a\.json is damaged: {problem}.*; make it again"
    ) as error:
        read_json(str(path), "make it again")
    assert "\n" not in str(error.value)


def test_large_files_and_what_is_no_file_are_not_read(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe")
    for path in (str(tmp_path / "pipe"), "/dev/zero"):
        with pytest.raises(UserError, match=f"{path}: is a pipe or a device"):
            read_json(path)
    monkeypatch.setattr(json_file, "_MOST_BYTES", 10)
    (tmp_path / "a.json").write_text('{"a": "1234567"}')
    with pytest.raises(UserError, match=r"a\.json: has more than 10 bytes"):
        read_json(str(tmp_path / "a.json"))
