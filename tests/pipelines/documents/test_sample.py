"""Estimates from a sample: scaled by what is read of the files, and shown by every stage."""

from __future__ import annotations

import gzip
import json
import os
import re

import pytest

from pipelines.command.run import RunOptions
from pipelines.documents import sample as input_sample
from pipelines.documents.config import InputFormat
from pipelines.mask.config import MaskStageConfig
from pipelines.mask.pipeline import mask
from pipelines.plan import PIPELINE_SECONDS, START_SECONDS, Plan, print_plan
from pipelines.records.manifest import read_manifest
from pipelines.storage.files import match
from pipelines.vocab.config import VocabConfig
from pipelines.vocab.pipeline import learn_vocabulary

_DRY = RunOptions(dry_run=True, price=0.05, beam_args=("--direct_num_workers=2",))


def test_compressed_files_are_scaled_by_what_is_read_of_them(tmp_path):
    path = tmp_path / "a.txt.gz"
    path.write_bytes(gzip.compress(os.urandom(4_000_000)))
    (info,) = match([str(path)])
    assert input_sample._stored_share(info, 1_000_000) == pytest.approx(0.25, rel=0.2)
    assert input_sample._stored_share(info, 10_000_000) == 1


def test_documents_that_grow_shorter_are_counted_well(tmp_path, monkeypatch):
    """As in Wikipedia, whose first articles are long: what begins a file is not like the rest."""
    texts = ["a" * (10 + 40_000 // (n + 10)) for n in range(3000)]
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    size = path.stat().st_size
    monkeypatch.setattr(input_sample, "_READ_BYTES", size // 2)
    monkeypatch.setattr(input_sample, "_WORKED_BYTES", size // 8)
    sample = input_sample.sample_input(match([str(path)]), InputFormat())
    assert sample.counts["documents_in"] == pytest.approx(3000, rel=0.1)
    assert sample.counts["bytes_in"] == pytest.approx(sum(map(len, texts)), rel=0.15)
    assert sample.scale > 1


@pytest.mark.parametrize(
    ("corpus", "documents"),
    [("wiki_en/*.gz", 5743), ("imdb/*.gz", 75_000), ("gutenberg/*.gz", 113)],
)
def test_real_corpora_are_counted_to_a_tenth(data_dir, corpus, documents):
    sample = input_sample.sample_input(match([str(data_dir / corpus)]), InputFormat())
    assert sample.counts["documents_in"] == pytest.approx(documents, rel=0.1)


def test_of_tables_and_whole_files_the_rest_is_counted_too(tmp_path, monkeypatch):
    import pyarrow as pa
    import pyarrow.parquet as pq

    texts = [f"row {n} " * 20 for n in range(20_000)]
    pq.write_table(pa.table({"text": texts}), tmp_path / "a.parquet", row_group_size=2000)
    monkeypatch.setattr(input_sample, "_READ_BYTES", 1 << 20)
    sample = input_sample.sample_input(match([str(tmp_path / "a.parquet")]), InputFormat())
    assert sample.counts["documents_in"] == pytest.approx(20_000, rel=0.01)
    assert sum(map(len, sample.blocks)) < 15_000
    # Compressed as a whole, it has its row count in no place that can be read alone.
    (tmp_path / "b.parquet.gz").write_bytes(gzip.compress((tmp_path / "a.parquet").read_bytes()))
    compressed = input_sample.sample_input(match([str(tmp_path / "b.parquet.gz")]), InputFormat())
    assert compressed.counts == sample.counts


def shown(text: str) -> dict[str, float]:
    """Names and numbers of a printed estimate."""
    lines = re.findall(r"^(.*?)  +([\d,.]+)(?: s| bytes)?$", text, re.MULTILINE)
    return {name: float(value.replace(",", "")) for name, value in lines}


def test_workers_share_time_and_cost(capsys):
    one = RunOptions(beam_args=("--direct_num_workers=1",))
    print_plan(Plan([], {}, 3600.0, last_seconds=50, worker_seconds=3), one)
    found = shown(capsys.readouterr().out)
    assert found["took"] == PIPELINE_SECONDS + 3 + 3600 + 50
    assert found["processor time"] == PIPELINE_SECONDS + 3 + 3600 + 2 * 50
    many = RunOptions(beam_args=("--direct_num_workers=100",), price=0.36)
    print_plan(Plan([], {"rows": 7}, 3600.0), many)
    found = shown(capsys.readouterr().out)
    assert found["took"] == PIPELINE_SECONDS + 48
    assert found["rows"] == 7
    hours = (START_SECONDS + PIPELINE_SECONDS + 48) / 3600
    assert found["price"] == pytest.approx(100 * hours * 0.36, abs=0.01)
    # What only three can read takes a third of the time.
    print_plan(Plan([], {}, 3600.0, pieces=3), many)
    assert shown(capsys.readouterr().out)["took"] == pytest.approx(
        PIPELINE_SECONDS + 4800 / 3, abs=0.01
    )


def test_vocab_says_what_it_would_do(tmp_path, corpus, vocab_dir, capsys):
    config = VocabConfig(
        input=(str(corpus),), output=str(tmp_path / "v"), word_counts=str(tmp_path / "words.tsv")
    )
    learn_vocabulary(config, _DRY)
    text = capsys.readouterr().out
    counts = read_manifest(str(vocab_dir)).counts
    found = shown(text)
    assert found["documents read"] == counts["documents_in"]
    assert found["words read"] == counts["words_in"]
    assert found["distinct words"] == counts["distinct_words"]
    assert found["processor time"] >= PIPELINE_SECONDS
    assert found["peak memory"] > 50e6
    assert "words.tsv" in text
    assert not list(tmp_path.iterdir())


def test_mask_says_what_it_would_do(tmp_path, rows_dir, capsys):
    config = MaskStageConfig(input=str(rows_dir), output=str(tmp_path / "m"), copies=3)
    mask(config, _DRY)
    text = capsys.readouterr().out
    manifest = read_manifest(str(rows_dir))
    assert shown(text)["examples"] == 3 * manifest.rows("train") + manifest.rows("validation")
    assert shown(text)["shards"] > 0
    assert "price" in text
    assert not list(tmp_path.iterdir())


def test_what_was_expected_stands_beside_what_came(tmp_path, rows_dir, capsys):
    mask(MaskStageConfig(input=str(rows_dir), output=str(tmp_path / "m")), RunOptions())
    text = capsys.readouterr().out
    manifest = read_manifest(str(rows_dir))
    rows = f"{manifest.rows('train') + manifest.rows('validation'):,}"
    assert re.search(rf"^examples +{rows} +estimated {rows}$", text, re.MULTILINE)
    for name in ("shards", "took", "processor time", "peak memory"):
        assert re.search(
            rf"^{name} +[\d.,]+ (s|bytes) +estimated [\d.,]+ (s|bytes)$", text, re.MULTILINE
        )
