"""Checkpoints that were altered and are whole files all the same: what a run makes of them."""

from __future__ import annotations

import io
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest

from trainer.pretraining.checkpoints import Checkpoints
from trainer.pretraining.logs.metrics import read_metrics

# Those of the fixture finished_run.
_OPTIONS = {
    "num_layers": 1,
    "num_heads": 2,
    "hidden_dim": 16,
    "intermediate_dim": 32,
    "dropout": 0.0,
    "batch_size": 8,
    "steps": 20,
    "learning_rate": 0.01,
    "mask_selection_rate": 0.3,
    "log_every": 1,
    "eval_every": 10,
    "checkpoint_every": 7,
    "peak_tflops": 1.0,
}


@pytest.fixture
def run(finished_run, make_rows, pretrain_here, tmp_path):
    """``run(status)`` goes on with an unfinished copy of a run, in ``run.checkpoints``."""
    output = tmp_path / "run"
    shutil.copytree(finished_run, output)
    (output / "manifest.json").unlink()

    def go_on(status):
        return pretrain_here(status, data=make_rows(), output=output, **_OPTIONS)

    go_on.checkpoints = Checkpoints(str(output), keep=9)
    return go_on


def save(checkpoints, step, arrays, record):
    checkpoints.save(step, arrays, record)
    checkpoints.wait()


def test_the_run_goes_back_to_one_that_is_its_own(run, finished_run):
    checkpoints = run.checkpoints
    arrays, record = checkpoints.load(20)
    kernel = next(name for name in arrays if name.startswith("model/") and arrays[name].ndim == 2)
    iteration = next(name for name in arrays if name.endswith("/iteration"))
    save(checkpoints, 18, arrays | {kernel: np.full_like(arrays[kernel], np.nan)}, record)
    save(checkpoints, 20, *checkpoints.load(14))
    beyond = arrays | {iteration: arrays[iteration] + 10}
    save(checkpoints, 30, beyond, record)
    save(checkpoints, 40, arrays | {iteration: arrays[iteration] - 21}, record)
    said = run(0)
    for step, problem in (
        (18, f"{kernel} holds what is no number"),
        (20, "it was saved after step 14"),
        (30, "the run has 20 steps"),
        (40, "it was saved after step -1"),
    ):
        assert f"step-{step:08d}.npz is damaged ({problem}); going back" in said
    assert "resuming after step 14" in said
    losses, expected = (
        [line["loss"] for line in read_metrics(str(f))]
        for f in (checkpoints.path(20).rpartition("/checkpoints/")[0], finished_run)
    )
    assert losses == expected


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda name, values: {name: values[:-1]}, "expected float32["),
        (lambda name, values: {name: values.astype(np.int32)}, "is int32["),
        (lambda name, values: {name: values.astype(np.float64)}, "is float64["),
        (lambda name, values: {f"{name}/more": values}, "expected not there"),
    ],
)
def test_arrays_of_another_model_are_refused(run, change, says):
    arrays, record = run.checkpoints.load(20)
    name = next(name for name in arrays if name.startswith("model/"))
    save(run.checkpoints, 20, arrays | change(name, arrays[name]), record)
    *_, line = run(2).splitlines()
    assert f"the checkpoint does not fit this model: {name}" in line
    assert says in line


def test_an_array_that_is_missing_and_the_checkpoint_of_another_run(run):
    arrays, record = run.checkpoints.load(20)
    name = list(arrays)[3]
    save(run.checkpoints, 20, {n: values for n, values in arrays.items() if n != name}, record)
    *_, line = run(2).splitlines()
    assert f"{name} is not there, expected" in line
    config = record["config"] | {"learning_rate": 0.02}
    save(run.checkpoints, 20, arrays, record | {"config": config})
    *_, line = run(2).splitlines()
    assert "holds an unfinished run of another kind (learning_rate was 0.02, now 0.01)" in line


def test_a_number_that_was_changed_where_all_checksums_of_the_archive_are_right(run):
    """Among the weights, which no other check can tell from those that were saved."""
    path = run.checkpoints.path(20)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = next(name for name in members if name.startswith("model/"))
    values = np.load(io.BytesIO(members[name]))
    values.flat[0] += 1
    changed = io.BytesIO()
    np.save(changed, values)
    with zipfile.ZipFile(path, "w") as archive:
        for member, content in (members | {name: changed.getvalue()}).items():
            archive.writestr(member, content)
    said = run(0)
    assert "step-00000020.npz is damaged (it is not as it was saved); going back" in said
    assert "resuming after step 14" in said


@pytest.mark.parametrize("damage", ["changed", "missing"])
def test_the_log_comes_back_with_the_checkpoint(run, damage):
    log = Path(run.checkpoints.path(20)).parents[1] / "metrics.jsonl"
    whole = log.read_text()
    log.unlink()
    if damage == "changed":
        log.write_text(whole.replace('"loss": ', '"loss": 1'))
    run(0)
    assert log.read_text() == whole
