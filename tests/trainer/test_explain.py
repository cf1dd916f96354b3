"""A step explained afterwards is the step that was trained: rows, masks, origins and loss."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from pipelines.command.run import RunOptions
from pipelines.errors import UserError
from pipelines.pages.shown_tokens import group_words
from pipelines.records.manifest import read_manifest
from pipelines.records.shards import ShardReader
from tests.command_process import TINY
from trainer.data.batches import RowOrigin
from trainer.explain import ExplainConfig, explain
from trainer.pretraining.checkpoints import Checkpoints
from trainer.pretraining.logs.metrics import read_metrics
from trainer.pretraining.pages.explained_step import ExplainedRow, ExplainedStep
from trainer.pretraining.pages.predictions import PredictedRow, PredictedToken
from trainer.pretraining.pages.render import render


@pytest.fixture(scope="module")
def run(finished_run) -> str:
    return str(finished_run)


def test_a_replayed_step_has_the_logged_loss(run, capsys):
    # Checkpoints are kept after steps 14 and 20: one replay begins there, one at the beginning.
    assert Checkpoints(run, 2).steps() == [14, 20]
    logged = {line["step"]: line["loss"] for line in read_metrics(run)}
    for step in (17, 3, 15):
        explained = explain(ExplainConfig(run=run, step=step, rows=0, replay=True), RunOptions())
        assert explained.replayed_loss == explained.logged_loss == logged[step]
        assert "equal to the last bit" in capsys.readouterr().out
        # Without dropout the losses of all masks make up the loss of the step.
        losses = [mask.loss for row in explained.rows for mask in row.predicted.masks]
        assert np.mean(losses) == pytest.approx(logged[step], abs=1e-5)
        assert explained.weights_of == step - 1


def test_rows_are_those_in_the_shards(run, make_rows):
    folder = str(make_rows())
    manifest = read_manifest(folder)
    shards = {shard.name: shard for shard in manifest.splits["train"]}
    vocabulary = (Path(folder) / "vocab.txt").read_text().split("\n")
    explained = explain(ExplainConfig(run=run, step=9, rows=0), RunOptions())
    assert len(explained.rows) == 8
    assert explained.weights_of == 14
    assert explained.replayed_loss is None
    for explained_row in explained.rows:
        row, origin = explained_row.predicted, explained_row.origin
        assert row.copy == 1  # 50 rows, so step 9 of 8 is in the second epoch
        reader = ShardReader(
            f"{folder}/{origin.shard}",
            shards[origin.shard],
            manifest.schema,
            manifest.facts["format"],
        )
        columns = reader.read(np.array([origin.record]))
        assert columns["row_id"].tolist() == [row.row_id]
        assert columns["doc_ids"].values.tolist() == origin.doc_ids
        assert row.masks
        restored = [
            token.target if token.is_masked else token.seen
            for tokens in row.documents
            for token in tokens
        ]
        assert restored == [vocabulary[token] for token in columns["token_ids"].values]
        lengths = [len(document) for document in row.documents]
        assert lengths == columns["segment_lengths"].values.tolist()


def test_documents_that_attention_does_not_separate_are_told_apart(
    make_rows, pretrain_here, tmp_path, capsys
):
    options = TINY | {"steps": 1, "data": make_rows(packing="full"), "output": tmp_path / "run"}
    pretrain_here(0, **options)
    page = tmp_path / "step.html"
    config = ExplainConfig(run=str(tmp_path / "run"), step=1, rows=0, output=str(page))
    explained = explain(config, RunOptions())
    assert max(len(row.origin.doc_ids) for row in explained.rows) == 2
    text, html = capsys.readouterr().out, page.read_text("utf-8")
    for row in explained.rows:
        (tokens,) = row.predicted.documents
        assert [token for _, mine in row.documents() for token in mine] == tokens
        for doc_id, mine in row.documents():
            assert mine[0].seen == "[CLS]"
            assert f"  document {doc_id:016x}: [CLS] " in text
            assert f"{doc_id:016x}" in html


def test_the_page_shows_every_mask_and_needs_nothing_else(run, tmp_path, capsys):
    page = tmp_path / "step.html"
    explained = explain(ExplainConfig(run=run, step=20, rows=2, output=str(page)), RunOptions())
    html = page.read_text("utf-8")
    assert html.count('<ruby class="mask') == sum(
        len(row.predicted.masks) for row in explained.rows
    )
    text = capsys.readouterr().out
    assert "what the model saw[what was there|its guess|loss]" in text
    for row in (row.predicted for row in explained.rows):
        assert f"{row.row_id:016x}" in html
        assert f"{row.row_id:016x}" in text
        for mask in row.masks:
            assert f"[{mask.target}|{mask.guess}|{mask.loss:.2f}]" in text
            assert f"<sub>{mask.loss:.1f}</sub>" in html
    masks = [mask for row in explained.rows for mask in row.predicted.masks]
    losses = explained.losses_by_token()
    assert sum(len(each.masks) for each in losses) == len(masks)
    assert sum(each.right for each in losses) == sum(mask.is_right for mask in masks)
    parts = [each.loss * len(each.masks) for each in losses]
    assert parts == sorted(parts, reverse=True)
    assert sum(parts) == pytest.approx(sum(mask.loss for mask in masks))
    assert f"<td>{losses[0].token}</td><td>{len(losses[0].masks)}</td>" in html


def test_words_are_whole_and_tokens_keep_their_marks():
    tokens = [
        PredictedToken("[CLS]"),
        PredictedToken("##er"),  # a row may begin within a word
        PredictedToken("play"),
        PredictedToken("[MASK]", "##ing", "##ed", 2.0),
        PredictedToken("cat", "##s", "##s", 0.1),
        PredictedToken("##"),
        PredictedToken("x & y"),
    ]
    assert [[token.text for token in word] for word in group_words(tokens)] == [
        ["[CLS]"],
        ["er"],
        ["play", "ing", "s"],
        ["##"],
        ["x & y"],
    ]
    row = PredictedRow(1, 0, [tokens])
    origin = RowOrigin("folder", "shard", 0, [7], [len(tokens)])
    step = ExplainedStep("run", 1, 1, 0, None, None, [ExplainedRow(row, origin)])
    page = str(render("explain.html.j2", explained=step, report=None))
    shown = re.search(r'<p class="text">(.*?) <span class="id">document', page, re.DOTALL)[1]
    text = re.sub(r"<rt>(.*?)</rt>|<sub>(.*?)</sub>", r"^\1\2", shown)
    assert re.sub(r"<[^>]*>", "", text).split(" ") == (
        ["[CLS]", "er", "play" + "ing^2.0^##ed" + "cat", "s^0.1^✓", "##", "x", "&amp;", "y"]
    )


def test_a_run_of_an_earlier_version_is_explained(run, tmp_path):
    """Its config and its checkpoints name what there no longer is."""
    old = tmp_path / "old"
    shutil.copytree(run, old)
    identity = json.loads((old / "identity.json").read_text())
    identity["config"]["on_bad_shard"] = "skip"
    (old / "identity.json").write_text(json.dumps(identity))
    checkpoints = Checkpoints(str(old), 2)
    arrays, record = checkpoints.load(14)
    checkpoints.save(14, arrays, record | {"left_out_since": {}, "left_out_rows": 0})
    checkpoints.wait()
    explained = explain(ExplainConfig(run=str(old), step=17, replay=True), RunOptions())
    assert explained.replayed_loss == explained.logged_loss


def test_problems_are_one_line(run, make_rows, tmp_path):
    with pytest.raises(UserError, match=r"--step 21: the run in .* has steps 1 to 20"):
        explain(ExplainConfig(run=run, step=21), RunOptions())
    with pytest.raises(UserError, match="holds no pretraining run"):
        explain(ExplainConfig(run=str(make_rows()), step=1), RunOptions())
    damaged = tmp_path / "identity.json"
    damaged.write_text("{}")
    with pytest.raises(UserError, match="is damaged"):
        explain(ExplainConfig(run=str(tmp_path), step=1), RunOptions())
    content = (Path(run) / "identity.json").read_text()
    damaged.write_text(content.replace(str(make_rows()), str(make_rows(seed=5))))
    with pytest.raises(UserError, match="cannot be computed again: data was another"):
        explain(ExplainConfig(run=str(tmp_path), step=1), RunOptions())


def test_a_changed_or_missing_log_of_a_finished_run_is_named(run, tmp_path):
    changed = tmp_path / "run"
    shutil.copytree(run, changed)
    log = changed / "metrics.jsonl"
    log.write_text(log.read_text().replace('"loss": ', '"loss": 1', 1))
    with pytest.raises(UserError, match=r"metrics\.jsonl is not the file of SHA256SUMS"):
        explain(ExplainConfig(run=str(changed), step=3), RunOptions())
    log.unlink()
    with pytest.raises(UserError, match=r"metrics\.jsonl is missing, unlike in SHA256SUMS"):
        explain(ExplainConfig(run=str(changed), step=3), RunOptions())
