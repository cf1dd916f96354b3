"""A run for a given time: what is chosen, said, kept by a resume, and had again from the flags."""

from __future__ import annotations

import json
import os
import re
import shlex
import time
from dataclasses import replace

import pytest

from pipelines.command.run import RunOptions
from pipelines.errors import UserError
from tests.command_process import TINY
from trainer.data.dataset import open_datasets
from trainer.pretraining import budget
from trainer.pretraining.budget import SIZES, choose, parse_time, settle_budget
from trainer.pretraining.checkpoints import Checkpoints
from trainer.pretraining.config import PretrainConfig
from trainer.pretraining.speed import measure_speed

_LEFT = 3600.0


@pytest.mark.parametrize("text", ["", "2", "2 h", "h", "0m", "-1h", "1m1h", "2d", "nan"])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(UserError, match=r"give a time such as 2h"):
        parse_time(text)


@pytest.fixture
def dataset(make_rows):
    (found,) = open_datasets([str(make_rows())])
    return found


def chosen(dataset, seconds_of_step, given=(), **options):
    """``choose`` where a step of each size takes that long."""
    timed = []

    def measure(config, chooses_dtype):
        timed.append(config)
        seconds = seconds_of_step[
            config.dimensions()["num_layers"], config.dimensions()["hidden_dim"]
        ]
        return seconds, "mixed_bfloat16" if chooses_dtype else config.dtype

    config = PretrainConfig(data=(dataset.folder,), output="out", budget="1h", **options)
    found, size = choose(config, frozenset(given), dataset, lambda: _LEFT, measure)
    return found, size, timed


def test_the_size_is_that_with_the_fewest_bits_in_the_time(dataset):
    small, middle, large = ((size.layers, size.width) for size in SIZES)
    # A hundred times as fast: no width makes up for so many tokens.
    found, size, timed = chosen(dataset, {small: 0.01, middle: 1.0, large: 2.0})
    assert (size.layers, size.width) == small
    assert len(timed) == 2  # larger ones are not even timed
    assert found["steps"] == 360_000
    # Where all are as fast, larger is better.
    found, size, _ = chosen(dataset, dict.fromkeys((small, middle, large), 0.01))
    assert (found["num_layers"], found["hidden_dim"], found["intermediate_dim"]) == (4, 256, 1024)
    assert found["num_heads"] == 4
    assert found["batch_size"] * dataset.seq_length == 4096
    expected = [each.bits(found["steps"] * 4096) for each in SIZES]
    assert expected[2] == min(expected)


def test_what_is_given_stays(dataset):
    options = {"hidden_dim": 64, "batch_size": 8, "dtype": "float32", "warmup_steps": 7}
    found, size, (timed,) = chosen(dataset, {(2, 64): 0.5}, given=options, **options)
    assert size is None
    assert found["steps"] == 7200
    assert not found.keys() & options.keys()
    assert (timed.batch_size, timed.dtype, timed.hidden_dim) == (8, "float32", 64)
    assert timed.optimizer == found["optimizer"] == "muon"


def test_examples_are_masked_already(dataset):
    masked = replace(dataset, manifest=replace(dataset.manifest, stage="mask"))
    found, _, _ = chosen(masked, {(2, 64): 0.5}, given=["hidden_dim"], hidden_dim=64)
    assert "mask_selection_rate" not in found


@pytest.mark.parametrize("other", ["steps=9", "epochs=2", "initial_run=x", "distributed=true"])
def test_what_a_budget_cannot_be_given_with(pretrain_here, make_rows, tmp_path, other):
    name, _, value = other.partition("=")
    options = {"data": make_rows(), "output": tmp_path / "run", "budget": "1h", name: value}
    assert f"--budget 1h and --{name}: " in pretrain_here(2, **options)
    assert not (tmp_path / "run").exists()


def test_a_step_is_timed_in_a_process_of_its_own(make_rows, tmp_path):
    options = {name: value for name, value in TINY.items() if name != "batch_size"}
    config = PretrainConfig(data=(str(make_rows()),), output=str(tmp_path / "run"), **options)
    seconds, dtype = measure_speed(replace(config, batch_size=8), False)
    assert 1e-5 < seconds < 1
    assert dtype == "float32"
    assert not (tmp_path / "run").exists()
    with pytest.raises(UserError, match="nowhere does not exist"):
        measure_speed(replace(config, data=("nowhere",)), False)


def test_a_resumed_run_keeps_what_was_chosen_and_the_flags_give_it_again(
    pretrain_here, make_rows, tmp_path, monkeypatch
):
    monkeypatch.setattr(budget, "measure_speed", lambda config, _: (0.5, "float32"))
    shape = {name: TINY[name] for name in ("num_layers", "num_heads", "hidden_dim")}
    common = {**shape, "intermediate_dim": 32, "data": make_rows(), "checkpoint_every": 10}
    first, again = tmp_path / "first", tmp_path / "again"
    assert "time for 0 steps here; give more" in pretrain_here(
        2, output=first, budget="20s", **common
    )
    said = pretrain_here(output=first, budget="1m", **common)
    flags = shlex.split(re.search(r"--budget 1m is (.*)", said)[1])
    steps = json.loads((first / "manifest.json").read_text())["counts"]["steps"]
    assert 60 <= steps <= 73

    # Elsewhere, or later, another speed is measured; the run stays what it was.
    monkeypatch.setattr(budget, "measure_speed", lambda config, _: (0.1, "mixed_bfloat16"))
    os.remove(first / "manifest.json")
    newest = Checkpoints(str(first)).newest()
    os.remove(Checkpoints(str(first)).path(newest))
    said = pretrain_here(output=first, budget="1m", **common)
    assert "resuming after step" in said
    assert "begun with --budget 1m" in pretrain_here(2, output=first, budget="2m", **common)

    named = {flag[2:]: value for flag, value in zip(flags[::2], flags[1::2], strict=True)}
    pretrain_here(output=again, **common, **named)
    # From Python there is no command line that says what was given.
    config = PretrainConfig(data=(str(common["data"]),), output="x", budget="1m", hidden_dim=32)
    settled = settle_budget(config, RunOptions(), time.time())
    assert (settled.hidden_dim, settled.num_layers, settled.optimizer) == (32, None, "muon")

    manifests = [(run / "manifest.json").read_text() for run in (first, again)]
    assert manifests[0] == manifests[1]
