"""Estimates from a sample: scaled by what is read of the files, and shown by every stage."""

from __future__ import annotations

import gzip
import os
import re

import pytest

from pipelines.command.run import RunOptions
from pipelines.documents import sample as input_sample
from pipelines.mask.config import MaskStageConfig
from pipelines.mask.pipeline import mask
from pipelines.records.manifest import read_manifest
from pipelines.stage import START_SECONDS, Plan, print_plan
from pipelines.storage.files import match
from pipelines.vocab.config import VocabConfig
from pipelines.vocab.pipeline import learn_vocabulary

_DRY = RunOptions(dry_run=True, price=0.05, beam_args=("--direct_num_workers=2",))


def test_compressed_files_are_scaled_by_what_is_read_of_them(tmp_path, monkeypatch):
    path = tmp_path / "a.txt.gz"
    path.write_bytes(gzip.compress(os.urandom(4_000_000)))
    (info,) = match([str(path)])
    monkeypatch.setattr(input_sample, "_SAMPLED_BYTES", 1_000_000)
    assert input_sample._stored_share(info) == pytest.approx(0.25, rel=0.2)
    monkeypatch.setattr(input_sample, "_SAMPLED_BYTES", 10_000_000)
    assert input_sample._stored_share(info) == 1


def shown(text: str) -> dict[str, float]:
    """Names and numbers of a printed estimate."""
    lines = re.findall(r"^(.*?)  +([\d,.]+)(?: s)?$", text, re.MULTILINE)
    return {name: float(value.replace(",", "")) for name, value in lines}


def test_workers_share_time_and_cost(capsys):
    print_plan(Plan([], {}, 3600.0), RunOptions(beam_args=("--direct_num_workers=1",)))
    assert shown(capsys.readouterr().out) == {"workers": 1, "time": START_SECONDS + 4000}
    many = RunOptions(beam_args=("--direct_num_workers=100",), price=0.36)
    print_plan(Plan([], {"rows": 7}, 3600.0), many)
    found = shown(capsys.readouterr().out)
    assert found["time"] == START_SECONDS + 40
    assert found["rows"] == 7
    assert found["price"] == pytest.approx(100 * 50 / 3600 * 0.36, abs=0.01)


def test_vocab_says_what_it_would_do(tmp_path, corpus, vocab_dir, capsys):
    config = VocabConfig(
        input=(str(corpus),), output=str(tmp_path / "v"), word_counts=str(tmp_path / "words.tsv")
    )
    learn_vocabulary(config, _DRY)
    text = capsys.readouterr().out
    counts = read_manifest(str(vocab_dir)).counts
    found = shown(text)
    assert found["documents"] == counts["documents_in"]
    assert found["words"] == counts["words_in"]
    assert found["distinct words"] == counts["distinct_words"]
    assert found["time"] >= START_SECONDS
    assert "words.tsv" in text
    assert not list(tmp_path.iterdir())


def test_mask_says_what_it_would_do(tmp_path, rows_dir, capsys):
    config = MaskStageConfig(input=str(rows_dir), output=str(tmp_path / "m"), copies=3)
    mask(config, _DRY)
    text = capsys.readouterr().out
    manifest = read_manifest(str(rows_dir))
    assert shown(text)["examples"] == 3 * manifest.rows("train") + manifest.rows("validation")
    assert shown(text)["output, MB"] > 0
    assert "price" in text
    assert not list(tmp_path.iterdir())
