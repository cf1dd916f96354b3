"""The page about a run: whole, self-contained, the same at the end and made again afterwards."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

pytest.importorskip("keras")

from pipelines.command.run import RunOptions
from pipelines.errors import UserError
from tests.parsed_page import Parsed, assert_fetches_nothing
from trainer.explain import ExplainConfig, explain
from trainer.pretraining.checkpoints import Checkpoints
from trainer.report import ReportConfig, report


def test_the_page_holds_everything_and_fetches_nothing(finished_run, make_rows):
    page = (finished_run / "report.html").read_text()
    parsed = Parsed(page)
    assert_fetches_nothing(page)
    charts = [attributes["aria-label"] for tag, attributes in parsed.tags if tag == "svg"]
    titles = [chart.split(",")[0] for chart in charts]
    assert titles[:3] == ["Loss", "Masked tokens right", "Learning rate"]
    assert "Share of the devices' peak arithmetic" in titles
    assert sum(tag == "polyline" for tag, _ in parsed.tags) == len(titles) + 2
    lines = [json.loads(line) for line in (finished_run / "metrics.jsonl").read_text().splitlines()]
    assert "nats" in parsed.text
    assert f"{lines[-1]['validation_loss']:.3f}" in parsed.text
    # Validated after steps 10 and 20: a curve, told at its steps, and at its end without a mouse.
    right = [f"{100 * line['validation_accuracy']:.3g}%" for line in lines if is_validated(line)]
    assert len(right) == 2
    assert f"validation {right[1]}" in charts[1]
    assert re.search(rf"step 10: training [\d.]+%, validation {re.escape(right[0])}", parsed.text)
    assert all(0 < line["mfu"] < 1 for line in lines)
    manifest = json.loads((make_rows() / "manifest.json").read_text())
    assert manifest["stage"] in parsed.text
    assert str(make_rows()) in parsed.text
    masks = [
        attributes for _, attributes in parsed.tags if "mask" in attributes.get("class", "").split()
    ]
    assert len(masks) >= 4
    assert all("likeliest: " in attributes["title"] for attributes in masks)
    # Each guess stands above its token, where it needs no mouse.
    assert len(re.findall(r'<ruby class="mask[^>]*>[^✓]*?<rt>[^<]+</rt></ruby>', page)) > 4
    assert not re.search(r"<t[dh]>\s*</t[dh]>|None|undefined", page)


def is_validated(line):
    return "validation_accuracy" in line


def test_it_can_be_made_again_and_in_mid_run(finished_run, tmp_path, capsys):
    again = tmp_path / "again.html"
    report(ReportConfig(run=str(finished_run), output=str(again)), RunOptions())
    assert again.read_text() == (finished_run / "report.html").read_text()
    assert Checkpoints(str(finished_run), 2).steps() == [14, 20]
    newest = Path(Checkpoints(str(finished_run), 2).path(20))
    newest.rename(tmp_path / "aside.npz")
    report(ReportConfig(run=str(finished_run), output=str(again)), RunOptions())
    assert "after 14 steps" in again.read_text()
    (tmp_path / "aside.npz").rename(newest)


def test_the_pages_of_a_run_lead_to_each_other(finished_run, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(finished_run, run)
    command = re.search(r"trainer\.explain (.*)</pre>", (run / "report.html").read_text())[
        1
    ].split()
    step, page = int(command[3]), run / Path(command[5]).name
    assert command[5] == str(finished_run / f"step-{step}.html")
    explain(ExplainConfig(run=str(run), step=step, rows=1, output=str(page)), RunOptions())
    explain(ExplainConfig(run=str(run), step=3, rows=1, output=str(run / "step-3.html")))
    report(ReportConfig(run=str(run)), RunOptions())
    assert links(run / "report.html") == sorted({"step-3.html", page.name}, key=len)
    assert links(page) == ["report.html"]
    assert_fetches_nothing(page.read_text())
    elsewhere = tmp_path / "step.html"
    explain(ExplainConfig(run=str(run), step=3, rows=1, output=str(elsewhere)), RunOptions())
    assert links(elsewhere) == []


def links(page):
    tags = Parsed(page.read_text()).tags
    return [attributes["href"] for tag, attributes in tags if tag == "a"]


def test_a_folder_without_a_run(tmp_path):
    with pytest.raises(UserError, match="holds no pretraining run"):
        report(ReportConfig(run=str(tmp_path)), RunOptions())
