"""Evaluation texts are found in documents and rows, left out, counted and listed."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from pipelines.command.run import RunOptions
from pipelines.documents.blocks import content_id
from pipelines.errors import UserError
from pipelines.inspect import InspectConfig, inspect
from pipelines.records.manifest import read_manifest
from pipelines.records.ragged import Ragged, offsets_of
from pipelines.text.vocabulary_source import load_vocabulary
from pipelines.tokenize.config import TokenizeConfig
from pipelines.tokenize.encode import Encoder
from pipelines.tokenize.evaluation_texts import EvaluationTexts, read_evaluation
from pipelines.tokenize.pipeline import tokenize
from tests.pipelines.conftest import write_jsonl


@pytest.fixture(scope="module")
def encoder(vocab_dir) -> Encoder:
    return Encoder(load_vocabulary(str(vocab_dir)).vocabulary, True, True)


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory, texts) -> Path:
    """A text from the middle of document 3, a whole document, one of its own, and a short one."""
    path = tmp_path_factory.mktemp("evaluation") / "task.csv"
    long = [i for i, text in enumerate(texts) if len(text.split()) > 60]
    middle = " ".join(texts[long[3]].split()[20:40])
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["sentence", "label"])
        own = " ".join(["tureso", "lokaka", "mimix"] * 9)
        writer.writerows([[middle, 0], [texts[long[5]], 1], [own, 0], ["lo mi", 1]])
    return path


def lists(values: list[list[int]]) -> Ragged:
    flat = np.array([v for part in values for v in part], np.uint16)
    return Ragged(flat, offsets_of(np.array([*map(len, values)])))


def test_shared_runs_are_those_of_a_plain_search(encoder, evaluation, texts):
    found = read_evaluation([str(evaluation)], ["sentence"], 13, encoder, "exclude")
    found = EvaluationTexts.from_bytes(found.to_bytes())
    assert (len(found.files), found.too_short) == (4, 1)
    assert found.name_text(2) == f"{evaluation}:3"

    def runs(text: str) -> dict[tuple[int, ...], int]:
        ids = encoder.encode([text])[0].tolist()
        return {tuple(ids[i : i + 13]): i for i in range(len(ids) - 12)}

    with open(evaluation, encoding="utf-8", newline="") as file:
        wanted = [runs(row["sentence"]) for row in csv.DictReader(file)]
    owner: dict[tuple[int, ...], int] = {}
    for text, of_text in enumerate(wanted):
        for run in of_text:
            owner.setdefault(run, text)
    expected = {
        (document, owner[run])
        for document, text in enumerate(texts)
        for run in runs(text)
        if run in owner
    }
    ids, offsets = encoder.encode(texts)
    documents, owners, starts = found.find(Ragged(ids, offsets))
    assert {*zip(documents.tolist(), owners.tolist(), strict=True)} == expected != set()
    for document, text, start in zip(documents, owners, starts, strict=True):
        begin = offsets[document] + start
        assert owner[tuple(ids[begin : begin + 13].tolist())] == text
    nothing = found.find(lists([[], [1, 2]]))
    assert not len(nothing[0])


def run(corpus: Path, vocab_dir: Path, output: Path, evaluation: Path, **fields) -> None:
    config = TokenizeConfig(
        input=(str(corpus),),
        vocab=str(vocab_dir),
        output=str(output),
        seq_length=64,
        num_shards=3,
        validation_fraction=0.1,
        exclude=(str(evaluation),) if evaluation else (),
        exclude_field=("sentence",),
        **fields,
    )
    tokenize(config, RunOptions(beam_args=("--direct_num_workers=1",)))


def listed(output: Path) -> list[tuple[int, str]]:
    lines = (output / "leaks.jsonl").read_text().splitlines()
    return [(int(leak["doc_id"], 16), leak["text"]) for leak in map(json.loads, lines)]


def test_leaking_documents_are_dropped_or_told(
    tmp_path, corpus, vocab_dir, texts, evaluation, capsys
):
    long = [text for text in texts if len(text.split()) > 60]
    leaking = {content_id(long[3].encode()): 1, content_id(long[5].encode()): 2}
    expected = sorted((doc_id, f"{evaluation}:{text}") for doc_id, text in leaking.items())
    count = sum(content_id(text.encode()) in leaking for text in texts)
    run(corpus, vocab_dir, tmp_path / "dropped", evaluation)
    run(corpus, vocab_dir, tmp_path / "told", evaluation, exclude_action="report")
    dropped, told = (read_manifest(str(tmp_path / name)) for name in ("dropped", "told"))
    assert dropped.counts["documents_dropped_leaked"] == told.counts["documents_leaked"] == count
    assert dropped.counts["documents_out"] == len(texts) - count
    assert told.counts["documents_out"] == len(texts)
    for name, manifest in (("dropped", dropped), ("told", told)):
        facts = manifest.facts["exclude"]
        assert (facts["texts"], facts["texts_too_short"], facts["texts_found"]) == (4, 1, 2)
        assert listed(tmp_path / name) == expected
        assert not [*(tmp_path / name).glob(".incomplete-*")]

    # In what was kept, inspect finds them all the same.
    said = {}
    for name in ("dropped", "told"):
        capsys.readouterr()
        config = InspectConfig(
            data=str(tmp_path / name), leaks=(str(evaluation),), text_field="sentence", rows=0
        )
        inspect(config, RunOptions())
        said[name] = capsys.readouterr().out
    assert (
        "leaks: 0 documents share 13 tokens with 0 of 4 evaluation texts (1 have" in said["dropped"]
    )
    assert "leaks: 2 documents share 13 tokens with 2 of 4 evaluation texts" in said["told"]
    for doc_id, text in expected:
        assert f"document {doc_id:016x}, {text}: " in said["told"]


def test_what_cannot_be_looked_for_is_refused(tmp_path, corpus, vocab_dir, evaluation, encoder):
    with pytest.raises(UserError, match="--exclude: no text of .* has 500 tokens"):
        read_evaluation([str(evaluation)], ["label"], 500, encoder, "exclude")
    with pytest.raises(
        UserError, match="--exclude: .*task.csv.*no column 'review'.*--exclude_field"
    ):
        read_evaluation([str(evaluation)], ["review"], 13, encoder, "exclude")
    with pytest.raises(UserError, match="--exclude_tokens 1: must be between"):
        run(corpus, vocab_dir, tmp_path / "rows", evaluation, exclude_tokens=1)
    write_jsonl(tmp_path / "rows" / "evaluation.jsonl", ["text"])
    with pytest.raises(UserError, match="which --exclude reads"):
        run(corpus, vocab_dir, tmp_path / "rows", tmp_path / "rows" / "evaluation.jsonl")
    with pytest.raises(UserError, match="--leaks: .* was written by stage vocab"):
        inspect(InspectConfig(data=str(vocab_dir), leaks=(str(evaluation),)), RunOptions())
