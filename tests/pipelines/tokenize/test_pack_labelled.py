"""Labelled examples as rows: each one whole, in an order and with bytes of its content alone."""

from __future__ import annotations

import csv
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.command.run import RunOptions
from pipelines.errors import UserError
from pipelines.records.manifest import read_manifest, read_split
from pipelines.records.ragged import Ragged, concatenate
from pipelines.text.vocabulary import Vocabulary
from pipelines.tokenize.config import TokenizeConfig
from pipelines.tokenize.encode import Encoder
from pipelines.tokenize.pipeline import tokenize
from pipelines.tokenize.token_tables import labels_of


def make_rows() -> list[dict[str, Any]]:
    rows = [
        {"text": "ka " * (i % 40) + "lo mi", "other": "tu " * (i % 23), "label": i % 3}
        for i in range(120)
    ]
    return [*rows, *rows[:7], {"text": " ", "other": "", "label": 0}]


def write_files(folder: Path, rows: list[dict[str, Any]], parts: int) -> Path:
    folder.mkdir()
    for part in range(parts):
        lines = [json.dumps(row) + "\n" for row in rows[part::parts]]
        (folder / f"{part}.jsonl").write_text("".join(lines))
    return folder


def contents(output: str) -> dict[str, bytes]:
    return {
        path.name: path.read_bytes()
        for path in Path(output).iterdir()
        if path.name not in ("run.json", ".lock")
    }


def read_all(output: str) -> Any:
    manifest = read_manifest(output)
    return concatenate(
        [part for split in manifest.splits for part in read_split(output, manifest, split)]
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory, vocab_dir) -> TokenizeConfig:
    folder = tmp_path_factory.mktemp("examples")
    config = TokenizeConfig(
        input=(str(write_files(folder / "input", make_rows(), 1)),),
        vocab=str(vocab_dir),
        output=str(folder / "output"),
        packing="examples",
        text_pair_field="other",
        label_field="label",
        seq_length=24,
        num_shards=3,
        validation_fraction=0.2,
    )
    tokenize(config, RunOptions())
    return config


def test_every_example_is_in_one_row_with_its_label(made, vocab_dir):
    columns = read_all(made.output)
    vocabulary = Vocabulary.load(vocab_dir / "vocab.txt")
    encoder = Encoder(vocabulary, True, True)
    cls, sep = vocabulary.cls_id, vocabulary.sep_id
    expected: Counter[Any] = Counter()
    truncated = 0
    for row in make_rows()[:-1]:
        a, b = (encoder.encode([row[name]])[0].tolist() for name in ("text", "other"))
        room, n, m = 21, len(a), len(b)
        while n + m > room:  # The longer gives way, the second first.
            n, m = (n - 1, m) if n > m else (n, m - 1)
        truncated += n < len(a) or m < len(b)
        expected[(cls, *a[:n], sep, *b[:m], sep), (n + 2, m + 1), str(row["label"])] += 1
    tokens, runs = columns["token_ids"], columns["segment_lengths"]
    assert isinstance(tokens, Ragged)
    found: Counter[Any] = Counter()
    for i, label in enumerate(labels_of(columns)):
        ids = tuple(tokens.values[tokens.offsets[i] : tokens.offsets[i + 1]].tolist())
        found[ids, tuple(runs.values[2 * i : 2 * i + 2].tolist()), label] += 1
    assert found == expected
    assert len(np.unique(columns["row_id"])) == 127
    manifest = read_manifest(made.output)
    assert manifest.facts["labels"] == {"0": 43, "1": 42, "2": 42}
    assert manifest.counts["documents_in"] == 128
    assert manifest.counts["documents_dropped_empty"] == 1
    assert manifest.counts["documents_truncated"] == truncated > 0
    assert manifest.rows("validation") > 5
    assert (columns["tokens_cut"] > 0).sum() == truncated


@pytest.mark.parametrize("runner", [(), ("--direct_num_workers=2",)])
def test_same_bytes_for_shuffled_and_resharded_input(made, tmp_path, runner):
    folder = write_files(tmp_path / "shuffled", make_rows()[::-1], 4)
    again = replace(made, input=(str(folder),), output=str(tmp_path / "output"))
    tokenize(again, RunOptions(beam_args=runner))
    assert contents(again.output) == contents(made.output)
    other = replace(again, output=str(tmp_path / "other"), seed=1)
    tokenize(other, RunOptions())
    assert contents(other.output) != contents(made.output)


def test_tables_and_tfrecords_hold_the_same(made, tmp_path):
    with open(tmp_path / "rows.csv", "w", newline="") as file:
        writer = csv.writer(file)
        for row in make_rows():
            writer.writerow([row["label"], row["text"], row["other"]])
    table = replace(
        made,
        input=(str(tmp_path / "rows.csv"),),
        output=str(tmp_path / "output"),
        text_field="2",
        text_pair_field="3",
        label_field="1",
        format="tfrecord",
    )
    tokenize(table, RunOptions())
    found, expected = read_all(table.output), read_all(made.output)
    np.testing.assert_array_equal(found["row_id"], expected["row_id"])
    np.testing.assert_array_equal(found["token_ids"].values, expected["token_ids"].values)
    assert labels_of(found) == labels_of(expected)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label_field": None}, "--packing examples: name the field of the label"),
        (
            {"label_field": "lable"},
            r"0\.jsonl:1: .*'lable'.*did you mean label; name it with --label_field",
        ),
        ({"packing": "full"}, "--label_field label: goes with --packing examples, not full"),
        ({"deduplicate": True}, "--deduplicate True: does not go with --packing examples"),
        (
            {"text_field": "label", "text_pair_field": None},
            "field 'label' holds 0, not text; .*--text_field",
        ),
    ],
)
def test_bad_options_are_told(made, tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        tokenize(replace(made, output=str(tmp_path / "out"), **changes), RunOptions())
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_no_example_with_text_is_told(made, tmp_path):
    folder = write_files(tmp_path / "empty", make_rows()[-1:], 1)
    with pytest.raises(
        UserError, match="no examples to tokenize: read 1, dropped empty 1; check --input and"
    ):
        tokenize(replace(made, input=(str(folder),), output=str(tmp_path / "out")), RunOptions())
