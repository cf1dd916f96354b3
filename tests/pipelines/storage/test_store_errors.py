"""Whatever a store or its library raises is one line with the path; what is not a store's stays."""

from __future__ import annotations

import errno

import pytest

from pipelines.errors import UserError
from pipelines.storage.store_errors import named

_PATH = "gs://bucket/file"


def _errors():
    aiohttp = pytest.importorskip("aiohttp", reason="needs the extra gcp")
    retry = pytest.importorskip("gcsfs.retry", reason="needs the extra gcp")
    requests = pytest.importorskip("requests")
    return [
        (aiohttp.ServerDisconnectedError(), "cannot be reached (Server disconnected)"),
        (aiohttp.ClientPayloadError("not complete"), "cannot be reached (not complete)"),
        (requests.exceptions.ProxyError(), "cannot be reached (ProxyError)"),
        (retry.HttpError({"code": 503, "message": "no"}), "the store is in trouble (no, 503)"),
        (retry.HttpError({"code": 409, "message": "no"}), "the store does not do it (no, 409)"),
        (retry.ChecksumError(), "the store does not do it (ChecksumError)"),
        (OSError("Forbidden: x"), "no permission (Forbidden: x)"),
    ]


def test_what_a_store_raises_is_one_line():
    for error, said in _errors():
        with pytest.raises(UserError) as caught, named(_PATH):
            raise error
        assert str(caught.value).startswith(f"{_PATH}: {said}; "), error


def test_a_missing_file_has_its_path_and_number():
    with pytest.raises(FileNotFoundError) as caught, named(_PATH):
        raise FileNotFoundError("https://storage/b/bucket/o/file")
    assert (caught.value.errno, caught.value.filename) == (errno.ENOENT, _PATH)


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), KeyError("x"), MemoryError()])
def test_what_is_not_a_stores_stays_as_it_is(error):
    with pytest.raises(type(error)) as caught, named(_PATH):
        raise error
    assert caught.value is error
