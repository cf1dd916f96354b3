"""Stages and training on a store in trouble (``tests/faulty_store.py``): nothing is lost, nothing is
published by halves, and what comes out equals what a local run gives."""

from __future__ import annotations

import dataclasses
import json

import pytest

from pipelines.command.run import RunOptions
from pipelines.errors import UserError
from pipelines.mask.config import MaskStageConfig
from pipelines.mask.pipeline import mask
from pipelines.records.manifest import MANIFEST
from pipelines.storage import files
from pipelines.storage import remote as stores
from pipelines.tokenize.pipeline import tokenize
from pipelines.vocab.config import VocabConfig
from pipelines.vocab.pipeline import learn_vocabulary
from tests.command_process import TINY, CommandProcess, flags_of
from tests.faulty_store import KINDS, faulty_store
from tests.pipelines.gcs.conftest import contents, upload

pytest.importorskip("google.cloud.storage", reason="needs the extra gcp")


@pytest.fixture
def trouble(storage_emulator, monkeypatch):
    """``trouble(percent, seed)``: such a store between this program and the emulator."""
    started = []

    def start(percent, seed=0):
        started.append(faulty_store(storage_emulator, percent, seed))
        server = started[-1].__enter__()
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.address)
        return server

    yield start
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", storage_emulator)
    for server in started:
        server.__exit__(None, None, None)


def test_rows_are_made_and_masked(remote, rows_dir, bucket, trouble, monkeypatch, storage_emulator):
    store = trouble(15)
    tokenize(remote, RunOptions())
    mask(MaskStageConfig(input=remote.output, output=f"{bucket}/examples"), RunOptions())
    assert set(store.faults) == set(KINDS), store.faults
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", storage_emulator)
    assert contents(remote.output) == contents(str(rows_dir))
    # Masked again without trouble.
    mask(MaskStageConfig(input=remote.output, output=f"{bucket}/again"), RunOptions())
    assert contents(f"{bucket}/examples") == contents(f"{bucket}/again")


def test_a_store_that_refuses_while_a_file_is_read(bucket, trouble):
    files.publish_bytes(path := f"{bucket}/file", b"content")
    store = trouble(0)
    with files.open_read(path) as file:
        store.down = "403"
        with pytest.raises(UserError, match=f"{path}: no permission"):
            file.read(1)
        store.down = ""
        files.delete([path])
        with pytest.raises(FileNotFoundError, match=path):
            file.read()


def test_a_slow_store_is_waited_for_while_it_says_something(bucket, trouble, monkeypatch, tmp_path):
    monkeypatch.setattr(stores, "_SILENT_SECONDS", 0.5)  # an answer takes 0.8
    store = trouble(0)
    store.down = "drip"
    files.publish_bytes(path := f"{bucket}/file", content := bytes(range(256)))
    assert files.read_bytes(path) == content
    files.download(path, copy := str(tmp_path / "copy"))
    assert files.read_bytes(copy) == content
    assert store.faults["drip"] == store.requests


@pytest.mark.long
@pytest.mark.parametrize("seed", range(3))
def test_every_stage_in_more_trouble(
    remote, rows_dir, corpus, bucket, trouble, monkeypatch, storage_emulator, tmp_path, seed
):
    def stages(place, config):
        words = VocabConfig(input=config.input, output=f"{place}/vocabulary", vocab_size=300)
        learn_vocabulary(words, RunOptions())
        tokenize(dataclasses.replace(config, output=f"{place}/rows"), RunOptions())
        mask(MaskStageConfig(input=f"{place}/rows", output=f"{place}/examples"), RunOptions())

    store = trouble(30, seed)
    stages(bucket, remote)
    assert store.faults.total() > 20
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", storage_emulator)
    local = dataclasses.replace(remote, input=(str(corpus),))
    stages(str(tmp_path), local)
    for name in ("vocabulary", "rows", "examples"):
        assert contents(f"{bucket}/{name}") == contents(str(tmp_path / name)), name


@pytest.mark.long
@pytest.mark.parametrize("how", ["503", "reset", "silent"])
@pytest.mark.parametrize("share", [0.3, 0.7])
def test_a_store_that_goes_down_in_the_middle(
    remote, rows_dir, bucket, trouble, monkeypatch, storage_emulator, how, share
):
    monkeypatch.setattr(stores, "_SILENT_SECONDS", 1)
    store = trouble(0)
    tokenize(dataclasses.replace(remote, output=f"{bucket}/whole"), RunOptions())
    store.down_after, store.down = round(store.requests * (1 + share)), how
    with pytest.raises(UserError, match="trouble|cannot be reached") as caught:
        tokenize(remote, RunOptions())
    assert "damaged" not in str(caught.value)
    store.down = ""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", storage_emulator)
    if MANIFEST in files.names_in(remote.output):  # only what comes after it was lost
        assert contents(remote.output) == contents(str(rows_dir))
    tokenize(remote, RunOptions())
    assert contents(remote.output) == contents(str(rows_dir))


_STEPS = 40


def train(status=0, **options):
    flags = flags_of(**TINY | {"steps": _STEPS, "batch_size": 4} | options)
    process = CommandProcess("trainer.pretrain", *flags)
    said = process.communicate(timeout=400)[1]
    assert process.returncode == status, said
    return said


def losses(folder):
    lines = files.read_bytes(f"{folder}/metrics.jsonl").decode().splitlines()
    return [json.loads(line)["loss"] for line in lines]


@pytest.mark.long
def test_pretraining_in_trouble(rows_dir, bucket, trouble, monkeypatch, storage_emulator, tmp_path):
    upload(rows_dir, f"{bucket}/rows")
    train(data=rows_dir, output=tmp_path / "run")
    store = trouble(20)
    train(data=f"{bucket}/rows", output=f"{bucket}/run", cache_dir=tmp_path / "cache")
    assert set(store.faults) == set(KINDS), store.faults
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", storage_emulator)
    assert losses(f"{bucket}/run") == losses(tmp_path / "run")
    mine, local = contents(f"{bucket}/run"), contents(str(tmp_path / "run"))
    assert mine.keys() == local.keys()
    assert mine[MANIFEST] == local[MANIFEST]


@pytest.mark.long
def test_pretraining_on_a_store_that_goes_down(
    rows_dir, bucket, trouble, monkeypatch, storage_emulator, tmp_path
):
    upload(rows_dir, f"{bucket}/rows")
    store = trouble(0)
    options = {"data": f"{bucket}/rows", "cache_dir": tmp_path / "cache"}
    train(**options, output=f"{bucket}/whole")
    store.down_after, store.down = round(store.requests * 1.6), "503"
    said = train(2, **options, output=f"{bucket}/run")
    assert "Traceback" not in said
    assert "trouble" in said.splitlines()[-1]
    store.down = ""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", storage_emulator)
    assert MANIFEST not in files.names_in(f"{bucket}/run")
    train(**options, output=f"{bucket}/run")
    assert losses(f"{bucket}/run") == losses(f"{bucket}/whole")
