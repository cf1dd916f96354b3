"""The index and success marker of an output."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.errors import UserError
from pipelines.records.manifest import MANIFEST, check_balance, read_manifest
from pipelines.records.output_folder import finish_output
from pipelines.storage import files
from tests.pipelines.records.made import MADE


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"stage": "tokenize"}', b"\xff"])
def test_damaged_manifests(tmp_path, content):
    (tmp_path / MANIFEST).write_bytes(content)
    with pytest.raises(UserError, match="damaged"):
        read_manifest(str(tmp_path))


def change(data, path, value):
    """Sets a value in nested JSON."""
    *outer, last = path
    for key in outer:
        data = data[key]
    data[last] = value


_SHARD = ("splits", "train", 0)


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        ((*_SHARD, "name"), "../victim.txt", "'../victim.txt' is no shard of train"),
        ((*_SHARD, "name"), "/abs/train-00000-of-00001.tfrecord", "is no shard of train"),
        ((*_SHARD, "name"), "validation-00000-of-00001.tfrecord", "is no shard of train"),
        ((*_SHARD, "name"), "vocab.txt", "'vocab.txt' is no shard of train"),
        ((*_SHARD, "name"), "train-00000-of-00002.tfrecord", "missing or listed twice"),
        ((*_SHARD, "records"), -5, "records of .* is -5"),
        ((*_SHARD, "records"), 4, "it counts 5 rows, its shards have 4"),
        ((*_SHARD, "bytes"), 1.5, "bytes of .* is 1.5"),
        ((*_SHARD, "sha256"), "00", "has no SHA-256"),
        ((*_SHARD, "sha256"), 7, "not a manifest"),
        (("splits", "../x"), [], "'../x' is not a valid name of a split"),
        (("splits",), [], "splits is not of type dict"),
        (("counts", "rows"), True, "the count rows is True"),
        (("facts", "seq_length"), 0, "seq_length is 0"),
        (("facts", "format"), "pickle", "format is 'pickle'"),
        (("schema", 0, "dtype"), "object", "field 'row_id'"),
        (("schema", 0, "name"), "token_ids", "listed twice"),
        (("stage",), 5, "stage is not of type str"),
    ],
)
def test_what_no_manifest_may_say(tmp_path, path, value, problem):
    data = json.loads(MADE.to_json())
    change(data, path, value)
    (tmp_path / MANIFEST).write_text(json.dumps(data))
    with pytest.raises(UserError, match=f"is damaged: .*{problem}.*--overwrite") as caught:
        read_manifest(str(tmp_path))
    assert "\n" not in str(caught.value)


def test_a_shard_that_is_listed_twice(tmp_path):
    data = json.loads(MADE.to_json())
    data["splits"]["train"] *= 2
    data["counts"] = {}
    (tmp_path / MANIFEST).write_text(json.dumps(data))
    with pytest.raises(UserError, match="a shard of train is missing or listed twice"):
        read_manifest(str(tmp_path))


def test_a_manifest_nested_too_deep(tmp_path):
    (tmp_path / MANIFEST).write_text("[" * 100_000)
    with pytest.raises(UserError, match="is damaged: "):
        read_manifest(str(tmp_path))


def test_missing_wrong_and_newer_manifests(tmp_path):
    with pytest.raises(UserError, match="--data: .* does not exist"):
        read_manifest(str(tmp_path / "no"), flag="data")
    with pytest.raises(UserError, match="is not finished"):
        read_manifest(str(tmp_path))
    finish_output(str(tmp_path), MADE, [], {})
    with pytest.raises(UserError, match="written by stage tokenize, expected mask"):
        read_manifest(str(tmp_path), ("mask",))
    text = (tmp_path / MANIFEST).read_text()
    (tmp_path / MANIFEST).write_text(text.replace('"format_version": 1', '"format_version": 9'))
    with pytest.raises(UserError, match="format version 9, this code reads 1"):
        read_manifest(str(tmp_path))


def test_balance():
    counts = {"in": 10, "out": 7, "dropped_a": 1, "dropped_b": 2}
    check_balance(counts, "things", "in", ("out", "dropped_*"))
    with pytest.raises(RuntimeError, match="things do not balance: in = 10"):
        check_balance({**counts, "out": 6}, "things", "in", ("out", "dropped_*"))


def test_nothing_half_written_is_ever_seen(tmp_path):
    target = tmp_path / "file"
    files.publish_bytes(str(target), b"old")
    with pytest.raises(ValueError, match="no"), files.publish(str(target)) as temporary:
        Path(temporary).write_bytes(b"half")
        assert target.read_bytes() == b"old"
        raise ValueError("no")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert target.read_bytes() == b"old"


def test_versions_are_written_but_identify_nothing(tmp_path):
    named = replace(MADE, versions={"array-record": "0.8.1", "unicode": "14.0.0"})
    assert named.fingerprint == MADE.fingerprint
    assert b"versions" not in MADE.to_json()
    (tmp_path / "manifest.json").write_bytes(named.to_json())
    assert read_manifest(str(tmp_path)) == named
    (tmp_path / "manifest.json").write_bytes(named.to_json().replace(b'"0.8.1"', b"8"))
    with pytest.raises(UserError, match="damaged: the version of array-record is 8"):
        read_manifest(str(tmp_path))
