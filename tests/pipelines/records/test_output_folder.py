"""Whose an output folder is, when it is finished, and what may be replaced in it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.errors import UserError
from pipelines.records.manifest import MANIFEST, RUN, read_manifest
from pipelines.records.output_folder import finish_output, prepare_output, read_run
from tests.pipelines.records.made import MADE, SHARD

_ROOT = Path(__file__).resolve().parents[3]


def prepare(folder, *, seed=1, overwrite=False, stage="tokenize", **options):
    makes = ("vocab.txt",)
    config = {"seed": seed}
    return prepare_output(
        str(folder), config, ["in"], overwrite=overwrite, stage=stage, makes=makes, **options
    )


def make(folder):
    """A finished output of ``MADE``."""
    assert not prepare(folder)
    (folder / SHARD).write_bytes(b"rows")
    (folder / "vocab.txt").write_text("[PAD]\n")
    finish_output(str(folder), MADE, ["in"], {})


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


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


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize(
    "name", ["vocab.txt", SHARD, "train-00007-of-00009.array_record", "notes.txt", "sub/a", RUN]
)
def test_a_folder_of_somebody_is_refused_and_stays_as_it_was(tmp_path, name, overwrite):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("mine")
    with pytest.raises(UserError, match=f"holds {name.split('/')[0]}, which is not known to be"):
        prepare(tmp_path, overwrite=overwrite)
    assert contents(tmp_path) == {name: b"mine"}
    assert not (tmp_path / ".lock").exists()


@pytest.mark.parametrize("overwrite", [False, True])
def test_the_output_of_another_stage_is_refused(tmp_path, overwrite):
    make(tmp_path)
    before = contents(tmp_path)
    with pytest.raises(UserError, match=r"different output \(stage tokenize\); choose"):
        prepare(tmp_path, stage="mask", overwrite=overwrite)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("name", ["notes.txt", "train-00007-of-00009.array_record"])
def test_what_somebody_put_into_an_output(tmp_path, name):
    make(tmp_path)
    (tmp_path / name).write_text("mine")
    assert prepare(tmp_path)
    before = contents(tmp_path)
    with pytest.raises(UserError, match=f"holds {name}, which is not known to be made by"):
        prepare(tmp_path, seed=2, overwrite=True)
    assert contents(tmp_path) == before
    # Folders below, such as the preset of a run, are never touched.
    (tmp_path / name).unlink()
    (tmp_path / "preset").mkdir()
    (tmp_path / "preset" / "config.json").write_text("{}")
    assert not prepare(tmp_path, seed=2, overwrite=True)
    assert contents(tmp_path).keys() == {"preset/config.json", "vocab.txt", RUN}


def test_a_run_that_goes_on_leaves_alone_what_it_did_not_make(tmp_path):
    assert not prepare(tmp_path)
    (tmp_path / "out.log").write_text("mine")
    (tmp_path / "train-00001-of-00002.tfrecord").write_text("of an attempt with other options")
    assert not prepare(tmp_path, seed=2)
    finish_output(str(tmp_path), MADE, ["in"], {})
    assert (tmp_path / "out.log").read_text() == "mine"
    assert not (tmp_path / "train-00001-of-00002.tfrecord").exists()


def test_killed_between_mark_and_manifest_an_old_output_is_not_taken_for_the_new(tmp_path):
    make(tmp_path)
    (tmp_path / RUN).write_text('{"stage": "tokenize"}')
    with pytest.raises(UserError, match="already holds a different output.*--overwrite"):
        prepare(tmp_path)
    assert not prepare(tmp_path, overwrite=True)


def test_a_manifest_that_names_a_file_elsewhere_deletes_nothing(tmp_path):
    folder = tmp_path / "out"
    make(folder)
    (tmp_path / "victim.txt").write_text("mine")
    for name in ("../victim.txt", str(tmp_path / "victim.txt")):
        data = json.loads(MADE.to_json())
        data["splits"]["train"][0]["name"] = name
        (folder / MANIFEST).write_text(json.dumps(data))
        prepare(folder, overwrite=True)
        assert (tmp_path / "victim.txt").read_text() == "mine"


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("name", ["rows", "rows/.", "rows/../rows", "link", "rows/sub"])
def test_what_is_read_is_not_written(tmp_path, name, overwrite):
    make(tmp_path / "rows")
    (tmp_path / "rows" / "sub").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "rows")
    before = contents(tmp_path)
    with pytest.raises(UserError, match=r"is or holds .*, which --data reads; choose another"):
        reads = {"data": [str(tmp_path / name)]}
        prepare(tmp_path / "rows", seed=2, overwrite=overwrite, reads=reads)
    assert contents(tmp_path) == before


def test_what_is_written_is_not_read(tmp_path):
    """In a corpus no output; in an output, whose manifest says what is in it, another may be."""
    make(tmp_path / "rows")
    prepare(tmp_path / "rows" / "examples", reads={"input": [str(tmp_path / "rows")]})
    (tmp_path / "corpus").mkdir()
    for pattern in ("corpus", "corpus/**", "corpus/**/*.txt"):
        with pytest.raises(UserError, match="lies in .*corpus.*, all of which --input reads"):
            prepare(tmp_path / "corpus" / "out", reads={"input": [str(tmp_path / pattern)]})
    assert not (tmp_path / "corpus" / "out").exists()
    prepare(tmp_path / "corpus" / "out", reads={"input": [str(tmp_path / "corpus" / "*.txt")]})


def test_two_processes_do_not_write_to_one_folder(tmp_path):
    code = (
        "from pipelines.records.output_folder import prepare_output\n"
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
