"""A run for a given time: what is chosen, said, kept by a resume, and had again from the flags."""

from __future__ import annotations

import os
import re
import shlex
from dataclasses import replace

import pytest

from pipelines.errors import UserError
from tests.command_process import TINY
from trainer.data.dataset import open_datasets
from trainer.pretraining import budget
from trainer.pretraining.budget import SIZES, choose, parse_time
from trainer.pretraining.checkpoints import Checkpoints
from trainer.pretraining.config import PretrainConfig
from trainer.pretraining.speed import measure_speed

_SMALL, _MIDDLE, _LARGE = ((size.layers, size.width) for size in SIZES)


@pytest.mark.parametrize(
    "text", ["", "2", "2 h", "h", "0m", "-1h", "1m1h", "2d", "nan", "9" * 400 + "h"]
)
def test_what_is_no_time_is_refused(text):
    with pytest.raises(UserError, match=r"give a time such as 2h"):
        parse_time(text)


@pytest.fixture
def dataset(make_rows):
    """Rows enough for not to be seen again and again."""
    (found,) = open_datasets([str(make_rows())])
    many = {"train": (replace(found.manifest.splits["train"][0], records=100_000_000),)}
    return replace(found, manifest=replace(found.manifest, splits=many))


def chosen(datasets, seconds_of_step, *, left=3600.0, timing=0.0, given=(), **options):
    """``choose`` where a step of each size takes that long, and ``timing`` it some seconds."""
    clock, timed = [left], []

    def measure(config, free, longest):
        assert longest == clock[0]
        timed.append(config)
        clock[0] -= timing
        shape = config.dimensions()
        fitted = {"dtype": "mixed_bfloat16"} if "dtype" in free else {}
        return seconds_of_step[shape["num_layers"], shape["hidden_dim"]], fitted

    config = PretrainConfig(data=("rows",), output="out", budget="1h", **options)
    found, size = choose(config, {*given, *options}, datasets, lambda: clock[0], measure)
    return found, size, timed


@pytest.mark.parametrize(
    ("seconds", "best", "tried"),
    [
        # A hundred times as fast: no width makes up for so many tokens. Larger ones are not even timed.
        ((0.01, 1.0, 2.0), _SMALL, 2),
        ((0.1, 0.2, 0.4), _MIDDLE, 3),
        # Where all are as fast, larger is better.
        ((0.01, 0.01, 0.01), _LARGE, 3),
    ],
)
def test_the_size_is_that_with_the_fewest_bits_in_the_time(dataset, seconds, best, tried):
    times = dict(zip((_SMALL, _MIDDLE, _LARGE), seconds, strict=True))
    found, size, timed = chosen([dataset], times)
    assert (size.layers, size.width) == best
    assert len(timed) == tried
    assert (found["num_layers"], found["hidden_dim"]) == best
    assert (found["num_heads"], found["intermediate_dim"]) == (best[1] // 64, 4 * best[1])
    assert found["batch_size"] * dataset.seq_length == 4096
    assert found["steps"] == int(3600 / times[best])
    assert found["dropout"] == 0
    bits = {s: s.bits(3600 / times[s.layers, s.width] * 4096) for s in SIZES}
    assert min(bits, key=bits.get) is size


def test_timing_takes_its_share_of_the_time(dataset):
    times = {_SMALL: 0.01, _MIDDLE: 1.0}
    found, _, timed = chosen([dataset], times, left=100.0, timing=25.0)
    assert len(timed) == 2
    assert found["steps"] == 5000
    assert found["warmup_steps"] == 500


def test_what_is_given_stays(dataset):
    options = {"hidden_dim": 64, "batch_size": 8, "dtype": "mixed_bfloat16", "warmup_steps": 7}
    found, size, (timed,) = chosen([dataset], {(2, 64): 0.5}, **options)
    assert size is None
    assert found["steps"] == 7200
    assert not found.keys() & options.keys()
    assert (timed.batch_size, timed.hidden_dim) == (8, 64)
    assert timed.optimizer == found["optimizer"] == "muon"


def test_each_optimizer_has_its_own_rate(dataset):
    times = {(2, 64): 0.5}
    assert chosen([dataset], times, hidden_dim=64)[0]["learning_rate"] == 0.002
    found, _, _ = chosen([dataset], times, given=["optimizer"], hidden_dim=64)
    assert found["learning_rate"] == 0.001  # adamw, which is the default
    assert "optimizer" not in found


def test_few_rows_keep_dropout(make_rows):
    (few,) = open_datasets([str(make_rows())])
    found, _, timed = chosen([few], {(2, 64): 0.5}, hidden_dim=64)
    assert "dropout" not in found
    assert [config.dropout for config in timed] == [0, 0.1]


def test_examples_are_masked_already(dataset):
    facts = {**dataset.manifest.facts, "copies": 1}
    masked = replace(dataset, manifest=replace(dataset.manifest, stage="mask", facts=facts))
    found, _, _ = chosen([dataset, masked], {(2, 64): 0.5}, hidden_dim=64)
    assert "mask_selection_rate" not in found


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"steps": 9}, "--budget 1h and --steps: "),
        ({"epochs": 2}, "--budget 1h and --epochs: "),
        ({"initial_run": "x"}, "--budget 1h and --initial_run: "),
        ({"distributed": "true"}, "each process of a distributed run would choose for itself"),
        ({"optimizer": "lamb"}, "--optimizer lamb: give --learning_rate too"),
        ({"dropout": 2}, "--dropout 2.0: must be at least 0 and below 1"),
        ({"grad_accumulation": 5}, "--grad_accumulation 5: cannot split"),
    ],
)
def test_what_a_budget_cannot_choose_for(pretrain_here, make_rows, tmp_path, options, told):
    options = {"data": make_rows(), "output": tmp_path / "run", "budget": "1h", **options}
    assert told in pretrain_here(2, **options)
    assert not (tmp_path / "run").exists()


def test_one_of_several_processes_is_known_by_its_environment(
    pretrain_here, make_rows, tmp_path, monkeypatch
):
    monkeypatch.setenv("KERAS_DISTRIBUTION_NUM_PROCESSES", "2")
    said = pretrain_here(2, data=make_rows(), output=tmp_path / "run", budget="1h")
    assert "each process of a distributed run would choose for itself" in said


def test_a_step_is_timed_in_a_process_of_its_own(make_rows, tmp_path):
    options = {**TINY, "batch_size": 7, "grad_accumulation": 1}
    config = PretrainConfig(data=(str(make_rows()),), output=str(tmp_path / "run"), **options)
    seconds, fitted = measure_speed(config, {"batch_size"}, 60.0)
    assert seconds > 0
    assert fitted == {"batch_size": 7}
    assert not (tmp_path / "run").exists()
    with pytest.raises(UserError, match="nowhere does not exist"):
        measure_speed(replace(config, data=("nowhere",)), (), 60.0)


def test_a_resumed_run_keeps_what_was_chosen_and_the_flags_give_it_again(
    pretrain_here, make_rows, tmp_path, monkeypatch
):
    monkeypatch.setattr(budget, "measure_speed", lambda *_: (0.5, {"dtype": "float32"}))
    shape = {name: TINY[name] for name in ("num_layers", "num_heads", "hidden_dim")}
    common = {**shape, "intermediate_dim": 32, "data": make_rows(), "checkpoint_every": 10}
    first, again = tmp_path / "first", tmp_path / "again"
    assert "leaves time for only 0 steps on this machine" in pretrain_here(
        2, output=first, budget="20s", **common
    )
    said = pretrain_here(output=first, budget="1m", **common)
    assert "every row is seen" in said
    assert "bits a byte" not in said  # of a size that was not measured
    flags = shlex.split(re.search(r"--budget 1m is (.*)", said)[1])
    manifest = (first / "manifest.json").read_text()

    # Elsewhere, or later, another speed is measured; the run stays what it was.
    monkeypatch.setattr(budget, "measure_speed", lambda *_: (0.1, {"dtype": "mixed_bfloat16"}))
    os.remove(first / "manifest.json")
    newest = Checkpoints(str(first)).newest()
    os.remove(Checkpoints(str(first)).path(newest))
    said = pretrain_here(output=first, budget="1m", **common)
    assert "resuming after step" in said
    assert (first / "manifest.json").read_text() == manifest
    assert "was started with --budget 1m" in pretrain_here(2, output=first, budget="2m", **common)

    named = {flag[2:]: value for flag, value in zip(flags[::2], flags[1::2], strict=True)}
    pretrain_here(output=again, **common, **named)
    assert (again / "manifest.json").read_text() == manifest
