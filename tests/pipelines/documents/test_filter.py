"""The user's own filter: what it refuses is dropped and counted by its reason."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from apache_beam.internal import pickler

from pipelines.documents.blocks import FileRange, read_blocks
from pipelines.documents.config import InputFormat
from pipelines.documents.filter import load_filter
from pipelines.documents.read_documents import ReadDocuments
from pipelines.documents.sent_module import SentModule, find_module
from pipelines.errors import UserError
from pipelines.storage import files

MODULE = """
def judge(text):
    if "spam" in text:
        return "looks like spam!"
    return len(text) > 2

def broken(text):
    return text.undefined

def mute(text):
    pass
"""


@pytest.fixture(autouse=True)
def _own_filters(tmp_path, monkeypatch):
    (tmp_path / "own_filters.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    load_filter.cache_clear()


def test_drops_are_counted_by_reason(tmp_path):
    path = tmp_path / "corpus.jsonl"
    texts = ["good text", "spam", "ab", "  ", "more spam", "Größe"]
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    options = InputFormat(filter="own_filters:judge")
    (block,) = read_blocks(FileRange(str(path)), options)
    assert block.texts() == ["good text", "Größe"]
    assert block.counts == {
        "documents_in": 6,
        "bytes_in": sum(len(text.encode()) for text in texts),
        "documents_dropped_filter_looks_like_spam": 2,
        "documents_dropped_filter_refused": 1,
        "documents_dropped_empty": 1,
    }


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("own_filters", "expected module:function"),
        ("own_filters:", "expected module:function"),
        ("no_such_module:judge", "cannot import no_such_module"),
        ("own_filters:nothing", "module own_filters has no nothing"),
    ],
)
def test_a_filter_that_is_not_there(name, message):
    with pytest.raises(UserError, match=f"--filter {name}: {message}"):
        load_filter(name)


def test_a_filter_that_fails_is_named_with_the_document():
    with pytest.raises(UserError, match="own_filters:broken: raised AttributeError.*'ein Text'"):
        load_filter("own_filters:broken")(b"ein Text")
    with pytest.raises(UserError, match="returned None; it must return True"):
        load_filter("own_filters:mute")(b"ein Text")


def test_a_filter_that_ends_the_program_does_not_end_the_stage(tmp_path):
    (tmp_path / "leaving_filters.py").write_text("import sys\ndef leave(text):\n    sys.exit(0)\n")
    importlib.invalidate_caches()
    with pytest.raises(UserError, match="leaving_filters:leave: raised SystemExit .0. on a docu"):
        load_filter("leaving_filters:leave")(b"ein Text")
    for name, code, raised in (
        ("exiting", "raise SystemExit(0)", "SystemExit .0."),
        ("failing", "1 / 0", "ZeroDivisionError .division by zero."),
        ("unparsed", "def", "SyntaxError .invalid syntax"),
    ):
        (tmp_path / f"{name}_filters.py").write_text(code)
        importlib.invalidate_caches()
        with pytest.raises(UserError, match=f"importing {name}_filters raised {raised}.*; correct"):
            load_filter(f"{name}_filters:judge")


def test_a_filter_in_the_working_folder_reaches_a_worker_elsewhere(tmp_path, monkeypatch):
    (tmp_path / "sent_filters.py").write_text('def keep(text):\n    return "no" not in text\n')
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text('{"text": "a"}\n{"text": "no b"}\n')
    monkeypatch.chdir(tmp_path)
    load_filter("sent_filters:keep")
    info = files.match([str(corpus)])
    sent = pickler.dumps(ReadDocuments(info, InputFormat(filter="sent_filters:keep")))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    code = (
        "import sys; from apache_beam.internal import pickler; import apache_beam as beam\n"
        "documents = pickler.loads(sys.stdin.buffer.read())\n"
        "with beam.Pipeline() as p:\n"
        "    p | documents | beam.Map(lambda block: print(block.texts(), dict(block.counts)))"
    )
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=sent,
        cwd=elsewhere,
        env=os.environ | {"PYTHONPATH": str(root)},
        capture_output=True,
        check=True,
    )
    assert "['a']" in done.stdout.decode()
    assert "'documents_dropped_filter_refused': 1" in done.stdout.decode()


def test_only_what_is_in_the_working_folder_is_sent(tmp_path, monkeypatch):
    (tmp_path / "near_filters.py").write_text(MODULE)
    importlib.invalidate_caches()
    load_filter("near_filters:judge")
    assert find_module("near_filters") is None
    assert find_module("json") is None
    monkeypatch.chdir(tmp_path)
    assert find_module("near_filters") == SentModule("near_filters", MODULE)
