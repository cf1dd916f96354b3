"""Steps whose gradient explodes change nothing but the counts, and a resumed run skips the same."""

from __future__ import annotations

import json
import os
import shutil

import numpy as np
import pytest

os.environ.setdefault("KERAS_BACKEND", "jax")

keras = pytest.importorskip("keras")
if keras.config.backend() != "jax":
    pytest.skip("needs the JAX backend", allow_module_level=True)

from pipelines.mask.config import MaskConfig  # noqa: E402
from tests.command_process import TINY  # noqa: E402
from trainer.data.batches import BatchMaker  # noqa: E402
from trainer.data.dataset import open_datasets  # noqa: E402
from trainer.data.order import RowOrder  # noqa: E402
from trainer.models.bert_backbone import BertBackbone  # noqa: E402
from trainer.models.pretraining_model import PretrainingModel  # noqa: E402
from trainer.pretraining.checkpoints import Checkpoints  # noqa: E402
from trainer.pretraining.exploded_steps import add_counters  # noqa: E402
from trainer.pretraining.initial_weights import initialize_weights  # noqa: E402
from trainer.pretraining.optimizer import WarmupThenDecay, build_optimizer  # noqa: E402
from trainer.pretraining.step import JaxTrainStep  # noqa: E402


def build_step(skip_norm):
    keras.utils.clear_session()
    model = PretrainingModel(BertBackbone(120, 1, 2, 16, 32, 0.0, 32))
    initialize_weights(model, seed=0)
    schedule = WarmupThenDecay(1e-3, 0, 1000, "constant")
    optimizer = build_optimizer(
        "adamw", model.trainable_variables, schedule=schedule, weight_decay=0.01, clip_norm=1.0
    )
    if skip_norm:
        add_counters(optimizer)
    return JaxTrainStep(model, optimizer, seed=5, skip_norm=skip_norm)


@pytest.fixture(scope="module")
def skipping():
    """A step that skips, and its initial state."""
    step = build_step(10.0)
    return step, step.state()


@pytest.fixture(scope="module")
def batches(make_rows):
    datasets = open_datasets([str(make_rows())])
    order = RowOrder([datasets[0].shard_rows("train")], seed=0, batch_size=8)
    maker = BatchMaker(datasets, order, MaskConfig(0.3))
    return [maker.train_batch(step).arrays for step in range(110)]


def exploding(batch, weight):
    """The batch with weights that nearly cancel, or are no numbers: the gradient is divided by them."""
    weights = batch["mask_weights"].copy()
    weights[::2] *= -1
    weights[0, 0] += weight - weights.sum()
    return {**batch, "mask_weights": weights}


def differing(before, after):
    return {n.split("/")[-1] for n, v in before.items() if not np.array_equal(v, after[n])}


def test_a_skipped_step_changes_nothing_but_the_counts(batches, skipping):
    (step, _), plain = skipping, build_step(0.0)
    for k, batch in enumerate(batches[:104]):
        values, expected = (np.asarray(each.run(k, batch)) for each in (step, plain))
        np.testing.assert_allclose(values, [*expected, 0], rtol=1e-4)
    before = step.state()
    usual = next(value for name, value in before.items() if name.endswith("usual_norm"))
    assert 0.3 * values[3] < usual < 3 * values[3]

    # A gradient a thousand times as long, and one that is no number.
    for k, weight in ((104, 0.01), (105, np.nan)):
        values = np.asarray(step.run(k, exploding(batches[k], weight)))
        assert differing(before, step.state()) == {"iteration", "skipped_steps"}
        assert values[2] == values[4] == 0
        assert values[-1] == k - 103
        assert np.isfinite(values).all()
    # Those after it are as they would be without it.
    np.testing.assert_allclose(
        np.asarray(step.run(106, batches[104]))[:4], plain.run(104, batches[104])[:4], rtol=1e-3
    )


def test_early_gradients_are_compared_with_nothing(batches, skipping):
    step, start = skipping
    step.load(start)
    assert np.asarray(step.run(0, batches[0]))[-1] == 0
    assert np.asarray(step.run(1, exploding(batches[1], 0.01)))[-1] == 0
    assert np.asarray(step.run(2, exploding(batches[2], np.nan)))[-1] == 1


def lines_of(run):
    kept = ("loss", "mean_loss", "gradient_norm", "skipped_steps", "validation_loss")
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [{name: line[name] for name in kept if name in line} for line in lines]


def test_a_resumed_run_skips_the_same_steps(pretrain_here, make_rows, tmp_path):
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    # Little above the usual norm, so that steps are skipped as a rule.
    options = TINY | {"steps": 140, "log_every": 7, "skip_norm": 1.1, "keep_checkpoints": 20}
    said = pretrain_here(data=make_rows(), output=whole, **options)
    lines = lines_of(whole)
    assert 0 == lines[10]["skipped_steps"] < lines[16]["skipped_steps"]
    assert lines[16]["skipped_steps"] < lines[-1]["skipped_steps"] < 40
    assert f"{lines[-1]['skipped_steps']} steps skipped" in said

    shutil.copytree(whole, resumed)
    for step in (130, 140):
        os.remove(Checkpoints(str(resumed)).path(step))
    os.remove(resumed / "manifest.json")
    assert "resuming after step 120" in pretrain_here(data=make_rows(), output=resumed, **options)
    assert lines_of(resumed) == lines
    (expected, _), (found, _) = (Checkpoints(str(run)).load(140) for run in (whole, resumed))
    assert expected.keys() == found.keys()
    assert not differing(expected, found)


def test_a_run_that_skips_every_step_ends(pretrain_here, make_rows, tmp_path):
    options = TINY | {"learning_rate": 1e38, "warmup_steps": 0, "steps": 50, "skip_norm": 10}
    said = pretrain_here(2, data=make_rows(), output=tmp_path / "run", **options)
    assert "the last 20 steps were skipped: training has diverged" in said
