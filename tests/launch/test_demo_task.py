"""The demo task's output folder."""

from __future__ import annotations

import pytest

from launch.quickstart_corpus.demo_task import DemoTaskConfig, make_task
from pipelines.command.run import RunOptions
from pipelines.errors import UserError


def test_nothing_of_somebody_is_overwritten(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "train.jsonl").write_text("mine")
    (tmp_path / "corpus.txt").write_text("some words\n" * 40)
    for path in ("corpus.txt", "out/train.jsonl"):
        config = DemoTaskConfig(input=(str(tmp_path / path),), output=str(tmp_path / "out"))
        with pytest.raises(UserError, match=r"--output: .*(holds train\.jsonl|--input reads)"):
            make_task(config, RunOptions(overwrite=True))
    assert (tmp_path / "out" / "train.jsonl").read_text() == "mine"
