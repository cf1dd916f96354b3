"""The page about a run: whole, self-contained, the same at the end and made again afterwards."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

pytest.importorskip("keras")

from pipelines.command.run import RunOptions
from pipelines.errors import UserError
from trainer.pretraining.checkpoints import Checkpoints
from trainer.report import ReportConfig, report

_VOID = {"meta"}


class Parsed(HTMLParser):
    def __init__(self, page):
        super().__init__()
        self.open, self.tags, self.text = [], [], ""
        self.feed(page)
        assert self.open == [], "not closed"

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_the_page_holds_everything_and_fetches_nothing(finished_run, make_rows):
    page = (finished_run / "report.html").read_text()
    parsed = Parsed(page)
    fetched = {"src", "href", "action", "data"}
    assert not any(fetched & set(attributes) for _, attributes in parsed.tags)
    assert not re.search(r"url\(|@import|https?://", page)
    titles = [attributes["aria-label"] for tag, attributes in parsed.tags if tag == "svg"]
    assert titles[:3] == ["Loss", "Accuracy", "Learning rate"]
    assert "Share of the devices' peak arithmetic" in titles
    assert sum(tag == "polyline" for tag, _ in parsed.tags) == len(titles) + 2
    lines = [json.loads(line) for line in (finished_run / "metrics.jsonl").read_text().splitlines()]
    assert "nats" in parsed.text
    assert f"{lines[-1]['validation_loss']:.4f}" in parsed.text
    assert all(0 < line["mfu"] < 1 for line in lines)
    manifest = json.loads((make_rows() / "manifest.json").read_text())
    assert manifest["stage"] in parsed.text
    assert str(make_rows()) in parsed.text
    masks = [
        attributes for _, attributes in parsed.tags if "mask" in attributes.get("class", "").split()
    ]
    assert len(masks) >= 4
    assert all("likeliest: " in attributes["title"] for attributes in masks)


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


def test_a_folder_without_a_run(tmp_path):
    with pytest.raises(UserError, match="holds no pretraining run"):
        report(ReportConfig(run=str(tmp_path)), RunOptions())
