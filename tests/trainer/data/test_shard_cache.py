"""The cache of shards stays below its limit, also while transfers nobody wants any more go on."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from pathlib import Path

from pipelines.records.shards import ShardInfo
from trainer.data.shard_cache import ShardCache


def info_of(name: str, content: bytes) -> ShardInfo:
    return ShardInfo(name, 1, len(content), hashlib.sha256(content).hexdigest())


def test_a_full_cache_throws_away_what_is_not_wanted(tmp_path):
    shards = []
    for name in "abc":
        content = name.encode() * 80
        (tmp_path / name).write_bytes(content)
        shards.append((str(tmp_path / name), info_of(name, content)))
    cache = ShardCache(str(tmp_path / "cache"), 170)
    for i, (path, info) in enumerate(shards):
        cache.want(dict(shards[max(0, i - 1) : i + 1]))
        assert Path(cache.get(path, info)).read_bytes() == Path(path).read_bytes()
    there = {entry.name for entry in (tmp_path / "cache").iterdir()}
    assert there == {info.sha256 for _, info in shards[1:]}


def test_a_copy_that_somebody_changed_is_fetched_again(tmp_path):
    content = b"right" * 16
    (tmp_path / "a").write_bytes(content)
    info = info_of("a", content)
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / info.sha256).write_bytes(b"wrong" * 16)
    cache = ShardCache(str(tmp_path / "cache"), 1000)
    assert Path(cache.get(str(tmp_path / "a"), info)).read_bytes() == content
    # One that is right needs nobody who has it.
    (tmp_path / "a").unlink()
    other = ShardCache(str(tmp_path / "cache"), 1000)
    assert Path(other.get(str(tmp_path / "a"), info)).read_bytes() == content


def test_what_somebody_keeps_there_is_not_thrown_away(tmp_path):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "thesis.txt").write_bytes(b"t" * 200)
    cache = ShardCache(str(tmp_path / "cache"), 100)
    for name in "ab":
        (tmp_path / name).write_bytes(name.encode() * 80)
        info = info_of(name, name.encode() * 80)
        cache.want({str(tmp_path / name): info})
        cache.get(str(tmp_path / name), info)
    assert (tmp_path / "cache" / "thesis.txt").read_bytes() == b"t" * 200
    assert {entry.name for entry in (tmp_path / "cache").iterdir()} == {"thesis.txt", info.sha256}


def test_a_transfer_waits_for_one_that_is_not_wanted_any_more(tmp_path):
    slow, quick = b"s" * 80, b"q" * 80
    # A pipe is read to its end only when its writer lets go: a transfer that takes its time.
    os.mkfifo(tmp_path / "slow")
    (tmp_path / "quick").write_bytes(quick)
    slow_shard = (str(tmp_path / "slow"), info_of("slow", slow))
    quick_shard = (str(tmp_path / "quick"), info_of("quick", quick))
    cache = ShardCache(str(tmp_path / "cache"), 100)
    cache.want(dict([slow_shard]))
    with open(tmp_path / "slow", "wb", buffering=0) as writer:  # opens once the transfer has begun
        writer.write(slow[:40])
        cache.want(dict([quick_shard]))
        found: list[str] = []
        reader = threading.Thread(target=lambda: found.append(cache.get(*quick_shard)))
        reader.start()
        time.sleep(0.5)
        assert not found
        names = [entry.name for entry in (tmp_path / "cache").iterdir()]
        assert len(names) == 1, "both would not fit"
        writer.write(slow[40:])
    reader.join(timeout=10)
    assert Path(found[0]).read_bytes() == quick
    assert [entry.name for entry in (tmp_path / "cache").iterdir()] == [quick_shard[1].sha256]
