"""Exports of a step whose checkpoint is kept, from runs that are finished and from runs that go on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest

from pipelines.command.run import RunOptions
from pipelines.errors import UserError
from pipelines.records.manifest import read_manifest
from tests.command_process import TINY
from trainer.export import ExportConfig, export
from trainer.models.bert_masked_lm import BertMaskedLM
from trainer.presets.kept_step import KeptStep
from trainer.presets.trained_model import load_pretrained
from trainer.pretrain import pretrain
from trainer.pretraining.config import PretrainConfig

# A step of such a run does not depend on how many are to come.
_OPTIONS = TINY | {"schedule": "constant", "warmup_steps": 2, "checkpoint_every": 2}
# What a run writes at its end, but for its last checkpoint.
_PUBLISHED = ("manifest.json", "model.weights.h5", "sample.npz", "vocab.txt", "SHA256SUMS")


def train(rows, output, steps):
    config = PretrainConfig(
        data=(str(rows),),
        output=str(output),
        steps=steps,
        keep_checkpoints=3,
        **_OPTIONS,
    )
    pretrain(config, RunOptions())
    return output


@pytest.fixture(scope="module")
def finished(make_rows, tmp_path_factory):
    return train(make_rows(), tmp_path_factory.mktemp("finished-run"), 6)


@pytest.fixture(scope="module")
def going_on(finished, tmp_path_factory):
    """The run as it was before its end."""
    run = tmp_path_factory.mktemp("unfinished") / "run"
    shutil.copytree(finished, run)
    for name in _PUBLISHED:
        (run / name).unlink()
    (run / "run.json").write_text('{"stage": "pretrain"}')
    return run


@pytest.fixture(scope="module")
def expected(make_rows, tmp_path_factory):
    """A run that ended at step 4, and its outputs."""
    run = str(train(make_rows(), tmp_path_factory.mktemp("shorter"), 4))
    trained = load_pretrained(run, read_manifest(run))
    return trained, trained.outputs(trained.task)


@pytest.mark.parametrize("state", ["finished", "going_on"])
def test_an_export_of_a_step_is_the_model_that_ended_there(state, request, expected, tmp_path):
    run = request.getfixturevalue(state)
    config = ExportConfig(
        run=str(run),
        step=4,
        output=str(tmp_path / "preset"),
        hf_output=str(tmp_path / "huggingface"),
    )
    before = sorted((path, path.stat().st_mtime_ns) for path in Path(run).rglob("*"))
    export(config, RunOptions())
    trained, outputs = expected
    for folder in (config.output, config.hf_output):
        found = trained.outputs(BertMaskedLM.from_preset(folder))
        for name, values in outputs.items():
            np.testing.assert_allclose(found[name], values, atol=2e-5, err_msg=name)
        assert read_manifest(folder).facts["step"] == 4
        card = Path(folder, "README.md").read_text("utf-8")
        assert "| after step | 4 |" in card
        line = json.loads((run / "metrics.jsonl").read_text().splitlines()[3])
        assert line["step"] == 4
        assert f"| loss | {line['loss']:.6g} | nats a masked token |" in card
    exported = BertMaskedLM.from_preset(config.output)
    for ours, theirs in zip(exported.weights, trained.task.weights, strict=True):
        np.testing.assert_array_equal(*map(keras.ops.convert_to_numpy, (ours, theirs)))
    # Nothing of the run was touched, and a repeated export has nothing to do.
    assert sorted((path, path.stat().st_mtime_ns) for path in Path(run).rglob("*")) == before
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    export(config, RunOptions())
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == times
    with pytest.raises(UserError, match="export of another run"):
        export(ExportConfig(run=str(run), step=2, output=config.output), RunOptions())


def test_a_step_that_is_not_there(finished, going_on, make_rows, tmp_path):
    def asked(run, step, match):
        with pytest.raises(UserError, match=match):
            export(ExportConfig(run=str(run), step=step, output=str(tmp_path / "x")), RunOptions())

    asked(finished, 3, r"--step 3: .* no checkpoint of that step; it keeps 2, 4, 6$")
    asked(going_on, 5, r"--step 5: .* it keeps 2, 4, 6$")
    asked(make_rows(), 2, "holds no pretraining run")
    copy = tmp_path / "run"
    shutil.copytree(going_on, copy)
    # The run goes on, and deletes the checkpoint while it is exported.
    kept = KeptStep.find(str(copy), 2)
    (copy / "checkpoints" / "step-00000002.npz").unlink()
    with pytest.raises(
        UserError, match="--step 2: .*step-00000002.npz is gone: the run, which goes"
    ):
        kept.load()
    whole = (copy / "checkpoints" / "step-00000004.npz").read_bytes()
    (copy / "checkpoints" / "step-00000004.npz").write_bytes(whole[:-100])
    asked(copy, 4, "checkpoint .*step-00000004.npz is damaged")
    shutil.rmtree(copy / "checkpoints")
    asked(copy, 4, "it keeps none yet")
    assert not (tmp_path / "x").exists()
