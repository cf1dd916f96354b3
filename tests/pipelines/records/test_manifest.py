"""The index and success marker of an output."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines import files
from pipelines.errors import UserError
from pipelines.records.codec import Field
from pipelines.records.manifest import (
    MANIFEST,
    Manifest,
    check_balance,
    finish_output,
    prepare_output,
    read_manifest,
    read_run,
)
from pipelines.records.shards import ShardInfo

_ROOT = Path(__file__).resolve().parents[3]
MADE = Manifest(
    stage="tokenize",
    config={"seed": 1},
    counts={"rows": 5},
    facts={"seq_length": 8},
    schema=(Field("row_id", "uint64"), Field("token_ids", "uint16", True)),
    splits={"train": (ShardInfo("train-00000-of-00001.tfrecord", 5, 100, "00"),)},
)


def test_round_trip_and_fingerprint(tmp_path):
    folder = str(tmp_path / "out")
    assert not prepare_output(folder, {"seed": 1}, ["in"], overwrite=False, stage="tokenize")
    finish_output(folder, MADE, ["in"], {"seconds": 1.5})
    read = read_manifest(folder, ("tokenize",))
    assert read == MADE
    assert read.fingerprint == MADE.fingerprint
    assert read.rows("train") == 5
    assert read.rows("validation") == 0
    assert read_run(folder) == {"seconds": 1.5}


def test_the_same_again_is_left_alone_and_another_is_refused(tmp_path):
    folder = str(tmp_path)
    prepare_output(folder, {"seed": 1}, ["in"], overwrite=False, stage="tokenize")
    finish_output(folder, MADE, ["in"], {})
    shard = tmp_path / "train-00000-of-00001.tfrecord"
    shard.write_bytes(b"rows")
    assert prepare_output(folder, {"seed": 1}, ["in"], overwrite=False, stage="tokenize")
    with pytest.raises(UserError, match="seed was 1, now 2.*--overwrite"):
        prepare_output(folder, {"seed": 2}, ["in"], overwrite=False, stage="tokenize")
    with pytest.raises(UserError, match="its input files have changed"):
        prepare_output(folder, {"seed": 1}, ["other"], overwrite=False, stage="tokenize")
    with pytest.raises(UserError, match="stage tokenize"):
        prepare_output(folder, {"seed": 1}, ["in"], overwrite=False, stage="mask")
    assert shard.exists()
    assert not prepare_output(folder, {"seed": 2}, ["in"], overwrite=True, stage="tokenize")
    assert not shard.exists()
    assert not (tmp_path / MANIFEST).exists()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"stage": "tokenize"}', b"\xff"])
def test_damaged_manifests(tmp_path, content):
    (tmp_path / MANIFEST).write_bytes(content)
    with pytest.raises(UserError, match="damaged"):
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


def test_two_processes_do_not_write_to_one_folder(tmp_path):
    code = (
        "from pipelines.records.manifest import prepare_output\n"
        f"prepare_output({str(tmp_path)!r}, {{}}, [], overwrite=False, stage='mask')\n"
        "print('ready', flush=True)\n"
        "input()\n"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=_ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "ready\n"
    with pytest.raises(UserError, match="another process is writing"):
        prepare_output(str(tmp_path), {}, [], overwrite=False, stage="mask")
    holder.kill()
    holder.wait()
    # Killed, it no longer stands in the way.
    assert not prepare_output(str(tmp_path), {}, [], overwrite=False, stage="mask")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission(tmp_path):
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(UserError, match="no permission"):
        prepare_output(str(tmp_path / "locked" / "x"), {}, [], overwrite=False, stage="mask")


def test_a_file_in_the_way(tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(UserError, match="a file of this name is in the way"):
        prepare_output(str(tmp_path / "out"), {}, [], overwrite=False, stage="mask")
