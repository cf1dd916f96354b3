"""Estimates from a sample, against what the run then makes."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from pipelines.command.run import RunOptions, parse_command
from pipelines.errors import UserError
from pipelines.records.manifest import read_manifest
from pipelines.storage.files import match
from pipelines.text.vocabulary import Vocabulary
from pipelines.tokenize.config import TokenizeConfig
from pipelines.tokenize.pipeline import _plan, tokenize


def make_config(corpus, vocab_dir, output="out") -> TokenizeConfig:
    return TokenizeConfig(
        input=(str(corpus),),
        vocab=str(vocab_dir),
        output=str(output),
        lowercase=True,
        strip_accents=True,
        seq_length=64,
    )


@pytest.mark.parametrize("compressed", [False, True])
def test_a_part_of_the_input_tells_of_the_whole(
    tmp_path, corpus, vocab_dir, rows_dir, compressed, monkeypatch
):
    monkeypatch.setattr("pipelines.documents.sample._READ_BYTES", 60_000)
    if compressed:
        path = tmp_path / "corpus.jsonl.gz"
        path.write_bytes(gzip.compress(corpus.read_bytes()))
        # gzip reads ahead by 128 KB: no share to be seen in so small a file
        share = 60_000 / corpus.stat().st_size
        monkeypatch.setattr("pipelines.documents.sample._stored_share", lambda *_: share)
    else:
        path = corpus
    vocabulary = Vocabulary.load(Path(vocab_dir) / "vocab.txt")
    config = make_config(path, vocab_dir)
    plan = _plan(match([str(path)]), config, vocabulary)
    amounts = plan.amounts
    manifest = read_manifest(str(rows_dir))
    for name in ("bytes_in", "documents_in", "tokens_in", "rows"):
        assert amounts[name] == pytest.approx(manifest.counts[name], rel=0.2), name
    assert amounts["bytes_out"] > 0
    assert plan.core_seconds > 0


def test_dry_run_says_it_and_writes_nothing(tmp_path, corpus, vocab_dir, capsys):
    config = make_config(corpus, vocab_dir, tmp_path / "rows")
    tokenize(config, RunOptions(dry_run=True, price=0.05, beam_args=("--direct_num_workers=2",)))
    shown = capsys.readouterr().out
    for expected in (
        "would write",
        "train-00007-of-00008",
        "tokens",
        "shards",
        "processor time",
        "peak memory",
        "price",
    ):
        assert expected in shown
    assert not (tmp_path / "rows").exists()


def test_price_needs_an_estimate():
    arguments = ["--input", "a", "--vocab", "v", "--output", "o", "--price", "1"]
    with pytest.raises(UserError, match="--price is for an estimate: add --dry_run"):
        parse_command(TokenizeConfig, "tokenize", "pipelines.tokenize", arguments, beam=True)
