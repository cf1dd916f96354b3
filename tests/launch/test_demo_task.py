"""The demo task's output folder."""

from __future__ import annotations

import json

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


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv", 'text,stars\n"{}, so",{}\n'),
        ("t.tsv", "text\tstars\n{}, so\t{}\n"),
        ("t.jsonl", '{{"text": "{}, so", "stars": {}}}\n'),
    ],
)
def test_labels_of_tables_are_a_task(tmp_path, name, content):
    head, line = content.split("\n")[:-1] if "jsonl" not in name else ("", content.strip())
    lines = [head, *(line.format(f"word {i}", (1, 5, -1)[i % 3]) for i in range(90))]
    (tmp_path / name).write_text("\n".join(filter(None, lines)) + "\n")
    output = tmp_path / "out"
    config = DemoTaskConfig(input=(str(tmp_path / name),), output=str(output), label_field="stars")
    make_task(config, RunOptions())
    rows = [
        json.loads(line)
        for part in ("train", "validation")
        for line in (output / f"{part}.jsonl").read_text().splitlines()
    ]
    assert {str(row["label"]) for row in rows} == {"1", "5"}
    assert len(rows) == 60
    assert all(row["text"].endswith(", so") for row in rows)


def test_a_field_that_was_asked_for_must_tell_classes_apart(tmp_path):
    words = " ".join(map(str, range(100)))
    (tmp_path / "t.csv").write_text("text,stars\n" + f"{words},5\n" * 30)
    (tmp_path / "t.txt").write_text("\n".join(f"{i} {words}" for i in range(30)))
    output = str(tmp_path / "out")
    for name, field, match in (
        ("t.csv", "stars", "--label_field stars: 1 classes in"),
        ("t.csv", "star", "'star'.*name it with --label_field"),
        ("t.txt", "stars", "--label_field stars: 0 classes in"),
    ):
        config = DemoTaskConfig(input=(str(tmp_path / name),), output=output, label_field=field)
        with pytest.raises(UserError, match=match):
            make_task(config, RunOptions())
    # Nothing was asked for: the text itself is the task.
    make_task(DemoTaskConfig(input=(str(tmp_path / "t.txt"),), output=output), RunOptions())
    assert '"text_pair"' in (tmp_path / "out" / "train.jsonl").read_text()
