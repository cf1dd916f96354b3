"""The whole road in a fresh copy of the tracked files, with what ``install.sh train`` installs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parents[2]
_ROAD = """
vocab: {{input: ["{folder}/data.jsonl"], output: "{folder}/vocab", vocab_size: 200}}
tokenize:
  input: ["{folder}/data.jsonl"]
  vocab: "{folder}/vocab"
  output: "{folder}/rows"
  seq_length: 32
mask: {{input: "{folder}/rows", output: "{folder}/examples"}}
pretrain: {{data: ["{folder}/examples"], output: "{folder}/run", steps: 3, batch_size: 4}}
export: {{run: "{folder}/run", output: "{folder}/preset", hf_output: "{folder}/hf"}}
finetune:
  preset: "{folder}/preset"
  train: ["{folder}/data.jsonl"]
  validation: ["{folder}/data.jsonl"]
  output: "{folder}/classifier"
  epochs: 1
  seq_length: 16
evaluate:
  preset: "{folder}/classifier"
  data: ["{folder}/data.jsonl"]
  output: "{folder}/evaluated"
predict:
  preset: "{folder}/classifier"
  data: ["{folder}/data.jsonl"]
  output: "{folder}/predicted.jsonl"
"""


@pytest.fixture(scope="module")
def clone(tmp_path_factory) -> Path:
    """The tracked files alone, as in a fresh clone."""
    folder = tmp_path_factory.mktemp("clone")
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=_ROOT, check=True, capture_output=True, text=True
    )
    for name in filter(None, listed.stdout.split("\0")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(_ROOT / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> Path:
    """All stages, on sentences whose label is their first word."""
    folder = tmp_path_factory.mktemp("road")
    words = "the cat sat on a mat and saw one small dog run home at last".split()
    rows = [
        {"text": " ".join([("good", "bad")[i % 2], *words[i % 7 :]]), "label": ("yes", "no")[i % 2]}
        for i in range(80)
    ]
    (folder / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    path = folder / "road.yaml"
    path.write_text(_ROAD.format(folder=folder))
    return path


@pytest.mark.long
def test_every_stage_runs_where_there_is_no_tensorflow(clone, config):
    environment = {n: v for n, v in os.environ.items() if n not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(
        ["bash", clone / "launch" / "road.sh", config],
        env=environment | {"KERAS_BACKEND": "jax"},
        cwd=config.parent,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert not list(clone.glob(".venv/lib/*/site-packages/tensorflow*"))
    outputs = (
        "vocab",
        "rows",
        "examples",
        "run",
        "preset",
        "classifier",
        "evaluated",
        "predicted.jsonl",
    )
    for name in outputs:
        assert (config.parent / name).exists(), name
    assert (config.parent / "hf" / "model.safetensors").exists()
