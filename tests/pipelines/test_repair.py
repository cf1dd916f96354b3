"""``pipelines.inspect --repair``: damaged shards come back bit for bit, and nothing else is touched."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from pipelines.command.run import RunOptions
from pipelines.errors import UserError
from pipelines.inspect import InspectConfig, inspect
from pipelines.mask.config import MaskStageConfig
from pipelines.mask.pipeline import mask
from pipelines.tokenize.config import TokenizeConfig
from pipelines.tokenize.pipeline import tokenize
from tests.pipelines.conftest import write_jsonl


def repair(folder: Path, *inputs: Path) -> None:
    config = InspectConfig(data=str(folder), repair=True, input=tuple(map(str, inputs)))
    inspect(config, RunOptions())


def state(folder: Path) -> dict[str, tuple[str, int]]:
    """SHA-256 and time of change of all files."""
    return {
        path.name: (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
        for path in folder.iterdir()
        if path.name != ".lock"
    }


def damage(folder: Path) -> set[str]:
    """Flips a byte of the first shard, truncates the second, deletes the third; returns their names."""
    flipped, cut, deleted, *_ = shards = sorted(folder.glob("*-of-*"))
    data = bytearray(flipped.read_bytes())
    data[len(data) // 2] ^= 1
    flipped.write_bytes(data)
    cut.write_bytes(cut.read_bytes()[:-40])
    deleted.unlink()
    return {path.name for path in shards[:3]}


@pytest.fixture(scope="module")
def labelled(tmp_path_factory, texts) -> Path:
    path = tmp_path_factory.mktemp("labelled") / "labelled.jsonl"
    rows = [{"text": text, "label": len(text) % 3} for text in texts]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(params=["documents", "pairs", "examples", "mask"])
def made(request, tmp_path, rows_dir, corpus, labelled, vocab_dir) -> tuple[Path, Path]:
    """An output and its input."""
    output = tmp_path / "output"
    if request.param == "documents":
        return Path(shutil.copytree(rows_dir, output, ignore=lambda *_: [".lock"])), corpus
    if request.param == "mask":
        mask(MaskStageConfig(input=str(rows_dir), output=str(output), copies=2), RunOptions())
        return output, rows_dir
    options = {
        "pairs": {"format": "tfrecord", "deduplicate": "near", "input": (str(corpus),)},
        "examples": {"label_field": "label", "input": (str(labelled),)},
    }[request.param]
    config = TokenizeConfig(
        vocab=str(vocab_dir),
        output=str(output),
        packing=request.param,
        seq_length=64,
        num_shards=3,
        **options,
    )
    tokenize(config, RunOptions())
    return output, Path(config.input[0])


def test_damaged_shards_come_back_alone(made, capsys):
    output, source = made
    before = state(output)
    damaged = damage(output)
    repair(output)
    said = capsys.readouterr()
    assert "BAD" not in said.err
    for name in damaged:
        assert name in said.out
    after = state(output)
    assert {name: digest for name, (digest, _) in after.items()} == {
        name: digest for name, (digest, _) in before.items()
    }
    assert {name for name in after if after[name] != before[name]} == damaged

    # What the output was made from may be elsewhere by now; whoever says so is believed.
    damage(output)
    moved = source.with_name(f"moved-{source.name}")
    shutil.copytree(source, moved) if source.is_dir() else shutil.copy(source, moved)
    repair(output, moved)
    assert {name: digest for name, (digest, _) in state(output).items()} == {
        name: digest for name, (digest, _) in before.items()
    }


def refused(output: Path, message: str, *inputs: Path) -> None:
    before = state(output)
    with pytest.raises(UserError, match=message) as caught:
        repair(output, *inputs)
    assert "\n" not in str(caught.value)
    assert state(output) == before


@pytest.fixture
def damaged_rows(tmp_path, rows_dir) -> Path:
    output = tmp_path / "rows"
    shutil.copytree(rows_dir, output)
    damage(output)
    return output


def test_another_input_is_refused(damaged_rows, texts, tmp_path):
    other = tmp_path / "other.jsonl"
    write_jsonl(other, texts[:-1])
    refused(damaged_rows, "the input has 629 documents, .* from 630; name the right", other)
    write_jsonl(other, [*texts[:-1], texts[-1][:-1] + "?"])
    refused(damaged_rows, r"the input has .* bytes|train-.*, made again, is another than", other)
    refused(damaged_rows, "--input: no such file", tmp_path / "nowhere.jsonl")


def test_an_input_that_has_changed_is_refused(damaged_rows, texts, tmp_path):
    record = json.loads((damaged_rows / "run.json").read_text())
    ((path, size, modified),) = record["inputs"]["files"]
    for name, has, message in (
        (path, size - 1, f"has {size:,} bytes, but had {size - 1:,}"),
        (str(tmp_path / "gone.jsonl"), size, "--input: no such file"),
    ):
        record["inputs"]["files"] = [[name, has, modified]]
        (damaged_rows / "run.json").write_text(json.dumps(record))
        refused(damaged_rows, message)
    (damaged_rows / "run.json").write_text("{}")
    refused(damaged_rows, "does not say what it was made from; name the files with --input")


def test_what_cannot_be_repaired_is_said(damaged_rows, rows_dir, vocab_dir, tmp_path, corpus):
    manifest = json.loads((damaged_rows / "manifest.json").read_text())
    # As written by a version whose run.json does not name the manifest.
    record = json.loads((damaged_rows / "run.json").read_text())
    del record["manifest"]
    (damaged_rows / "run.json").write_text(json.dumps(record))
    for changed, message in (
        ({"filter": "os:system"}, "was made with --filter os:system"),
        (
            {"seq_length": "long"},
            "manifest.json: its config is none of this version .*--seq_length",
        ),
        ({"width": 3}, "unknown field width"),
    ):
        written = manifest | {"config": manifest["config"] | changed}
        (damaged_rows / "manifest.json").write_text(json.dumps(written))
        refused(damaged_rows, message)
    (damaged_rows / "manifest.json").write_text(json.dumps(manifest))
    (damaged_rows / "vocab.txt").write_text("other\n")
    refused(damaged_rows, r"vocab\.txt is not the vocabulary .*; put it back")
    with pytest.raises(UserError, match="--input: .*add --repair"):
        inspect(InspectConfig(data=str(rows_dir), input=(str(corpus),)), RunOptions())

    examples = tmp_path / "examples"
    mask(MaskStageConfig(input=str(rows_dir), output=str(examples)), RunOptions())
    damage(examples)
    refused(examples, "holds other rows than those", other_rows(rows_dir, tmp_path))
    refused(examples, "was written by stage vocab", vocab_dir)


def other_rows(rows_dir: Path, tmp_path: Path) -> Path:
    """The same rows with another manifest."""
    other = tmp_path / "others"
    shutil.copytree(rows_dir, other)
    manifest = json.loads((other / "manifest.json").read_text())
    manifest["facts"]["lowercase"] = False
    (other / "manifest.json").write_text(json.dumps(manifest))
    return other
