"""``launch/quickstart.sh`` on files of one's own: which commands it runs, and the whole of it (long)."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pipelines.keyed_random import below, fold, purpose_key

_ROOT = Path(__file__).resolve().parents[2]
_WORDS = "the cat sat on a mat and saw one small dog run home at last".split()
_STAGES = [
    "pipelines.vocab",
    "pipelines.tokenize",
    "pipelines.mask",
    "trainer.pretrain",
    "trainer.export",
    "trainer.finetune",
    "trainer.finetune",
    "trainer.evaluate",
    "trainer.predict",
    "launch.road_summary",
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The scripts and what they read, in a folder with a blank in its name."""
    folder = tmp_path / "some where"
    for name in ("launch", "configs"):
        shutil.copytree(_ROOT / name, folder / name)
    for name in ("requirements.lock", "pyproject.toml"):
        shutil.copy(_ROOT / name, folder)
    return folder


def write_table(path: Path) -> Path:
    """A labelled table of 60 texts, whose label is their first word."""
    delimiter = "\t" if path.suffix == ".tsv" else ","
    draws = below(fold(purpose_key(0, "test"), np.arange(60 * 12)), len(_WORDS)).reshape(60, 12)
    with open(path, "w", newline="") as file:
        table = csv.writer(file, delimiter=delimiter)
        table.writerow(["text", "stars"])
        for i, draw in enumerate(draws):
            first = ("good", "bad")[i % 2]
            table.writerow([" ".join([first, *(_WORDS[j] for j in draw), "well, so"]), first])
    return path


def quickstart(
    folder: Path, *arguments: object, status: int = 0, **environment: str
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        ["bash", folder / "launch" / "quickstart.sh", *map(str, arguments)],
        env={**os.environ, "KERAS_BACKEND": "jax", "PYTHONPATH": str(_ROOT), **environment},
        cwd=folder.parent,
        capture_output=True,
        text=True,
    )
    assert done.returncode == status, done.stderr
    return done


@pytest.fixture
def commands(folder, install_in):
    """``commands(*arguments, **environment)``: those that the quickstart runs, without their work."""

    def run(*arguments: object, **environment: str) -> list[list[str]]:
        log = folder / "commands"
        log.unlink(missing_ok=True)
        quickstart(folder, *arguments, **environment)
        calls = [call.split("\0")[1:] for call in log.read_text().removesuffix("\1").split("\0\1")]
        return [[part for part in call if part] for call in calls]

    install_in(
        folder,
        f"printf '%s\\0' \"$@\" >> '{folder}/commands'; printf '\\1' >> '{folder}/commands'",
        "train",
    )
    return run


def test_a_corpus_with_a_labelled_file(commands, folder, monkeypatch):
    corpus, labelled = folder.parent / "my corpus.txt", folder.parent / "labelled.csv"
    corpus.write_text("some text\n")
    write_table(labelled)
    calls = commands(
        corpus.name,
        *("--labelled", labelled.name, "--label_field", "stars", "--steps", 3),
        VOCAB="--strip_accents false",
        FINETUNE="--epochs 1",
    )
    assert [call[0] for call in calls] == _STAGES
    configs = {}
    for call in calls[:7]:
        configs.setdefault(call[0], []).append(print_config(folder, call, monkeypatch))
    for stage in ("vocab", "tokenize"):
        assert str(corpus) in configs[f"pipelines.{stage}"][0]
    assert "strip_accents: false" in configs["pipelines.vocab"][0]
    assert "steps: 3\n" in configs["trainer.pretrain"][0]
    pretrained, from_scratch = configs["trainer.finetune"]
    for config in (pretrained, from_scratch):
        assert "label_field: stars" in config
        assert "epochs: 1\n" in config
        assert str(labelled) in config
    assert "from_scratch: true" in from_scratch
    assert "from_scratch: false" in pretrained
    # What fine-tuning held out is what is evaluated.
    output = calls[5][calls[5].index("--output") + 1]
    assert calls[7][calls[7].index("--data") + 1] == f"{output}/validation.jsonl"
    # Other labels, another folder.
    others = commands(corpus.name, "--labelled", labelled.name)
    assert others[5][others[5].index("--output") + 1] != output


def print_config(folder: Path, call: list[str], monkeypatch: pytest.MonkeyPatch) -> str:
    """The config that a command would run with."""
    output = io.StringIO()
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.hugetlb=0")
    monkeypatch.setenv("QUICKSTART", "runs/some")
    monkeypatch.setattr(sys, "argv", [*call, "--print_config"])
    monkeypatch.chdir(folder)
    with contextlib.redirect_stdout(output), pytest.raises(SystemExit) as end:
        runpy.run_module(call[0], run_name="__main__", alter_sys=True)
        raise SystemExit(0)
    assert not end.value.code
    return output.getvalue()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--labeled", "x"], "unknown option --labeled"),
        (["none.txt"], "no such file: none.txt"),
        (["--labelled", "none.csv"], "no such file: none.csv"),
        (["--steps"], "--steps needs a value"),
        (["--label_field", "stars"], "--label_field stars: of which file?"),
    ],
)
def test_mistakes_are_one_line(folder, arguments, message):
    error = quickstart(folder, *arguments, status=2).stderr
    assert message in error
    assert len(error.splitlines()) == 1


@pytest.mark.long
def test_the_whole_road_with_a_labelled_table(folder, install_in):
    install_in(folder, f'exec {sys.executable} "$@"', "train")
    labelled = write_table(folder.parent / "labelled.tsv")
    corpus = folder.parent / "corpus.jsonl"
    texts = (" ".join(_WORDS[i % 7 :] + _WORDS[: i % 11]) for i in range(80))
    corpus.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    arguments = (corpus.name, "--labelled", labelled.name, "--label_field", "stars")
    done = quickstart(folder, *arguments, "--steps", 3, FINETUNE="--epochs 1")
    table = done.stdout[done.stdout.rindex("what was made") :]
    assert table.count("for KerasHub, reloaded") == table.count("for Transformers, reloaded") == 1
    assert table.count("always the commonest class") == 2
    # Times agree with what the stages said.
    took = re.search(r"pretrain: finished in (\S+) s", done.stderr)[1]
    assert re.search(rf"^pretrain .* {took} s ", table, re.MULTILINE)
    (folder_made,) = (folder / "runs").iterdir()
    for path in ("pretrain/report.html", "finetuned/preset", "huggingface"):
        assert (folder_made / path).exists()
        assert f"runs/{folder_made.name}/{path}" in table
