"""The number of shards where none is asked for, and what is said about a number that is."""

from __future__ import annotations

import gzip
import json
import os
import shutil

import pytest

from pipelines.command.run import RunOptions
from pipelines.errors import UserError
from pipelines.records.manifest import read_manifest
from pipelines.tokenize.config import TokenizeConfig
from pipelines.tokenize.find_near_duplicates import documents_to_cut, parts_of_bands, parts_of_links
from pipelines.tokenize.pipeline import tokenize
from pipelines.tokenize.shard_count import SHARD_BYTES, count_shards, estimate_id_bytes
from pipelines.tokenize.transforms import tokens_to_cut

QUICK = RunOptions(beam_args=("--direct_num_workers=1",))


def make_config(corpus, vocab_dir, output, **fields) -> TokenizeConfig:
    return TokenizeConfig(
        input=(str(corpus),), vocab=str(vocab_dir), output=str(output), seq_length=64, **fields
    )


def test_small_inputs_have_eight_shards_and_large_ones_of_256_to_512_mb():
    assert count_shards(0) == count_shards(8 * SHARD_BYTES) == 8
    for id_bytes in (8 * SHARD_BYTES + 1, 10**11, 10**12, 3 * 10**12, 10**13):
        assert SHARD_BYTES / 2 < id_bytes / count_shards(id_bytes) <= SHARD_BYTES
    # 1 TB of English, as measured and as guessed from its size, for 2 and 4 bytes an id.
    assert count_shards(423 * 10**9) == count_shards(estimate_id_bytes(10**12, 30522)) == 1024
    assert count_shards(estimate_id_bytes(10**12, 100_000)) == 2048


def test_what_moves_is_no_smaller_where_there_are_more_shards():
    for shards in (8, 1024, 16384):
        assert tokens_to_cut(shards) >= 4096 * shards  # some documents
        assert tokens_to_cut(shards) * 4 <= 256 << 20  # bytes that a worker holds
        assert documents_to_cut(shards) >= 8 * parts_of_bands(shards)
        assert parts_of_links(shards) <= min(1024, parts_of_bands(shards))


def test_the_number_follows_the_inputs_size_and_is_recorded(
    tmp_path, corpus, vocab_dir, monkeypatch, capsys
):
    monkeypatch.setattr("pipelines.tokenize.shard_count.SHARD_BYTES", corpus.stat().st_size // 20)
    config = make_config(corpus, vocab_dir, tmp_path / "rows")
    tokenize(config, QUICK)
    manifest = read_manifest(config.output)
    assert manifest.config["num_shards"] == len(manifest.shards()) == 16
    tokenize(config, QUICK)
    assert "is finished already" in capsys.readouterr().err
    with pytest.raises(UserError, match="num_shards was 16, now 2"):
        tokenize(make_config(corpus, vocab_dir, tmp_path / "rows", num_shards=2), QUICK)


def test_a_dry_run_names_what_is_too_large(tmp_path, corpus, vocab_dir, monkeypatch, capsys):
    # Only the beginning: what follows is a hole without an end of a line.
    monkeypatch.setattr("pipelines.documents.sample._PARTS", 1)
    monkeypatch.setattr("pipelines.documents.sample._READ_BYTES", corpus.stat().st_size // 2)
    large = tmp_path / "large.jsonl"
    shutil.copy(corpus, large)
    os.truncate(large, 20 * 2**30)  # of which the disk holds the beginning
    tokenize(make_config(large, vocab_dir, tmp_path / "rows"), RunOptions(dry_run=True))
    shown = capsys.readouterr()
    assert "train-00031-of-00032" in shown.out
    assert "large files" not in shown.err
    assert "--num_shards" not in shown.err
    few = make_config(large, vocab_dir, tmp_path / "rows", num_shards=4)
    tokenize(few, RunOptions(dry_run=True))
    said = capsys.readouterr().err
    assert "--num_shards 4: some 2.7 GB of token ids for each shard" in said
    assert "leave it out for 32 shards" in said


def test_large_files_that_one_worker_must_read_alone_are_named(
    tmp_path, vocab_dir, monkeypatch, capsys
):
    lines = "".join(json.dumps({"text": f"some text {i}"}) + "\n" for i in range(2000))
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    (tmp_path / "in" / "b.jsonl").write_text(lines)
    (tmp_path / "in" / "c.jsonl.gz").write_bytes(gzip.compress(lines[:100].encode()))
    monkeypatch.setattr("pipelines.documents.text_size._MUCH_TEXT", 5000)
    monkeypatch.setattr("pipelines.documents.blocks.RANGE_BYTES", 4000)
    config = make_config(tmp_path / "in", vocab_dir, tmp_path / "rows", on_bad_record="drop")
    tokenize(config, RunOptions(dry_run=True))
    said = [line for line in capsys.readouterr().err.splitlines() if "large files" in line]
    assert len(said) == 1
    assert "can only be read from beginning to end, by one worker each: " in said[0]
    assert "in/a.jsonl.gz (0.0 GB); split them" in said[0]
    assert said[0].count(".jsonl") == 1
