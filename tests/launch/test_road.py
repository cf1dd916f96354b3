"""``launch/road.sh``: all stages of one file, two phases of pretraining among them."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from pathlib import Path

import pytest

from trainer.run_folder import WEIGHTS

_ROOT = Path(__file__).resolve().parents[2]
_CONFIG = """
vocab:
  input: ["${{CORPUS}}"]
  output: {out}/vocab
  vocab_size: 200
tokenize_16:
  input: ["${{CORPUS}}"]
  vocab: {out}/vocab
  output: {out}/rows_16
  seq_length: 16
tokenize:
  input: ["${{CORPUS}}"]
  vocab: {out}/vocab
  output: {out}/rows
  seq_length: 32
pretrain_16:
  data: [{out}/rows_16]
  output: {out}/pretrain_16
  steps: 2
  batch_size: 4
  num_layers: 1
  num_heads: 2
  hidden_dim: 16
  intermediate_dim: 32
pretrain:
  data: [{out}/rows]
  output: {out}/pretrain
  initial_run: {out}/pretrain_16
  steps: 2
  batch_size: 2
  num_layers: 1
  num_heads: 2
  hidden_dim: 16
  intermediate_dim: 32
"""


def road(config: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", _ROOT / "launch" / "road.sh", config],
        env={**os.environ, "KERAS_BACKEND": "jax", **environment},
        capture_output=True,
        text=True,
    )


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    words = "the cat sat on a mat and saw one small dog run home at last".split()
    texts = (" ".join(words[i % 7 :] + words[: i % 11]) for i in range(80))
    path = tmp_path / "corpus.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return path


def test_phases_of_one_file_follow_one_another(tmp_path, corpus):
    config = tmp_path / "c.yaml"
    config.write_text(_CONFIG.format(out=tmp_path / "out"))
    done = road(config, CORPUS=str(corpus), PRETRAIN="--steps 3")
    assert done.returncode == 0, done.stderr
    stages = [line[3:] for line in done.stderr.splitlines() if line.startswith("== ")]
    assert stages == ["vocab", "tokenize_16", "tokenize", "pretrain_16", "pretrain"]
    runs = [
        json.loads((tmp_path / "out" / name / "identity.json").read_text())
        for name in ("pretrain_16", "pretrain")
    ]
    assert [run["deciding"]["steps"] for run in runs] == [2, 3]
    weights = (tmp_path / "out" / "pretrain_16" / WEIGHTS).read_bytes()
    assert runs[1]["deciding"]["initial_weights"] == hashlib.sha256(weights).hexdigest()


def test_a_stage_that_fails_ends_the_road(tmp_path, corpus):
    config = tmp_path / "c.yaml"
    config.write_text(_CONFIG.format(out=tmp_path / "out").replace("vocab_size: 200", "size: 2"))
    done = road(config, CORPUS=str(corpus))
    assert done.returncode == 2
    assert done.stderr.count("== ") == 1
    assert "unknown key 'size'" in done.stderr
    assert not (tmp_path / "out").exists()
