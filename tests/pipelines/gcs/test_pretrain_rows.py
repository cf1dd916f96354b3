"""``trainer.pretrain`` on rows at gs://: the same run as on local ones, through a small cache."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pytest

from pipelines.command.run import RunOptions
from pipelines.records.manifest import read_manifest
from pipelines.storage import files
from pipelines.tokenize.config import TokenizeConfig
from pipelines.tokenize.pipeline import tokenize
from tests.command_process import TINY, flags_of, run_command_process
from trainer.data.order import RowOrder

pytest.importorskip("google.cloud.storage", reason="needs the extra gcp")

_MODEL = TINY | {"batch_size": 4, "checkpoint_every": 1000, "steps": 60}
_WINDOW = 2


@pytest.fixture(scope="module")
def many_shards(tmp_path_factory, corpus, vocab_dir) -> Path:
    """Rows in twelve training shards."""
    output = tmp_path_factory.mktemp("stages") / "rows"
    config = TokenizeConfig(
        input=(str(corpus),),
        vocab=str(vocab_dir),
        output=str(output),
        seq_length=64,
        num_shards=12,
        validation_fraction=0.02,
    )
    tokenize(config, RunOptions())
    return output


@pytest.fixture
def remote(bucket, many_shards) -> str:
    """The same rows in the bucket."""
    for path in sorted(many_shards.iterdir()):
        if path.name != ".lock":
            files.publish_bytes(f"{bucket}/rows/{path.name}", path.read_bytes())
    return f"{bucket}/rows"


def run(status=0, environment=None, **options) -> str:
    flags = flags_of(**_MODEL | options)
    return run_command_process("trainer.pretrain", *flags, status=status, environment=environment)[
        1
    ]


def losses(output) -> list[tuple[float, float]]:
    lines = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, len(lines) + 1))
    return [(line["loss"], line.get("validation_loss", 0.0)) for line in lines]


def bytes_needed(data) -> tuple[int, int]:
    """What two windows and the validation rows take up at most, and what all of it does."""
    splits = read_manifest(str(data)).splits
    train = sorted((shard.bytes for shard in splits["train"]), reverse=True)
    rest = sum(shard.bytes for shard in splits["validation"])
    return sum(train[: 2 * _WINDOW]) + rest, sum(train) + rest


class _FolderWatch:
    """Looks again and again how many bytes are in a folder while the block lasts."""

    def __init__(self, folder: Path):
        self._folder, self._stop = folder, threading.Event()
        self.most, self.looks = 0, 0
        self._thread = threading.Thread(target=self._look)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *error):
        self._stop.set()
        self._thread.join()

    def _look(self):
        before: dict[str, int] = {}
        while not self._stop.wait(0.001):
            now = {}
            for entry in os.scandir(self._folder) if self._folder.exists() else ():
                try:
                    now[entry.name] = entry.stat().st_size
                except FileNotFoundError:
                    continue
            # A single look is no moment: what was seen first may have gone before the last came.
            both = [min(size, before[name]) for name, size in now.items() if name in before]
            before = now
            self.most, self.looks = max(self.most, sum(both)), self.looks + 1


def test_remote_rows_through_a_small_cache_train_like_local_ones(many_shards, remote, tmp_path):
    limit, everything = bytes_needed(many_shards)
    assert limit < 0.6 * everything
    options = {"shard_window": _WINDOW}
    run(data=many_shards, output=tmp_path / "local", **options)
    options |= {"cache_dir": tmp_path / "cache", "cache_gb": limit / 1e9}
    with _FolderWatch(tmp_path / "cache") as watch:
        run(data=remote, output=tmp_path / "remote", **options)
    assert losses(tmp_path / "remote") == losses(tmp_path / "local")
    assert len(losses(tmp_path / "local")) == 60
    assert watch.looks > 100
    assert 0 < watch.most <= limit
    mine, other = (read_manifest(str(tmp_path / name)).to_json() for name in ("remote", "local"))
    assert mine == other


def test_a_cache_too_small_says_what_to_do(many_shards, remote, tmp_path):
    limit, everything = bytes_needed(many_shards)
    options = {"data": remote, "output": tmp_path / "run", "cache_dir": tmp_path / "cache"}
    said = run(2, **options, cache_gb=(everything - 1) / 1e9)
    assert "allow that much, or give --shard_window N" in said
    said = run(2, **options, cache_gb=(limit - 1) / 1e9, shard_window=_WINDOW)
    assert "or give a --shard_window below 2" in said
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param("missing", marks=pytest.mark.long),
        pytest.param("truncated", marks=pytest.mark.long),
        "changed",
    ],
)
def test_a_bad_object_in_mid_run_is_named(many_shards, remote, tmp_path, damage):
    shards = read_manifest(str(many_shards)).splits["train"]
    rows = [shard.records for shard in shards]
    order = RowOrder([rows], seed=0, batch_size=4, window=_WINDOW)
    first, second = ([j for _, _, j in order.shards_needed(step)[:_WINDOW]] for step in (0, 59))
    whole = many_shards / shards[next(j for j in second if j not in first)].name
    path, content = f"{remote}/{whole.name}", whole.read_bytes()
    if damage == "missing":
        files.delete([path])
    else:
        half = len(content) // 2
        wrong = content[:half] + (b"" if damage == "truncated" else bytes(len(content) - half))
        files.publish_bytes(path, wrong)
    options = {"data": remote, "output": tmp_path / "run", "cache_dir": tmp_path / "cache"}
    options |= {"shard_window": _WINDOW, "checkpoint_every": 1000}
    said = run(2, **options)
    expected = {
        "missing": "is missing",
        "truncated": f"has {len(content) // 2:,} bytes",
        "changed": "does not match the checksum",
    }
    (line,) = [line for line in said.splitlines() if path in line]
    assert expected[damage] in line
    assert "Traceback" not in said
    done = losses(tmp_path / "run")
    assert 0 < len(done) < 60
    (checkpoint,) = (tmp_path / "run" / "checkpoints").iterdir()
    assert checkpoint.name == f"step-{len(done):08d}.npz"
    files.publish_bytes(path, content)
    assert f"resuming after step {len(done)}" in run(**options)
    assert len(losses(tmp_path / "run")) == 60


@pytest.mark.long
def test_a_store_that_cannot_be_reached_is_named(remote, tmp_path):
    nowhere = {"STORAGE_EMULATOR_HOST": "http://127.0.0.1:9"}
    said = run(2, nowhere, data=remote, output=tmp_path / "run")
    (line,) = [line for line in said.splitlines() if remote in line]
    assert "cannot be reached" in line
    assert "Traceback" not in said
    assert not (tmp_path / "run").exists()
