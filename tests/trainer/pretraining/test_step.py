"""The training step on JAX: the right gradient, dropout by step, state that can be put back."""

from __future__ import annotations

import functools
import os

import numpy as np
import pytest

os.environ.setdefault("KERAS_BACKEND", "jax")

keras = pytest.importorskip("keras")
if keras.config.backend() != "jax":
    pytest.skip("needs the JAX backend", allow_module_level=True)

from pipelines.errors import UserError  # noqa: E402
from pipelines.mask.config import MaskConfig  # noqa: E402
from tests.trainer.models.checks.outputs import outputs_of  # noqa: E402
from trainer.data.batches import BatchMaker  # noqa: E402
from trainer.data.dataset import open_datasets  # noqa: E402
from trainer.data.order import RowOrder  # noqa: E402
from trainer.models.bert_backbone import BertBackbone  # noqa: E402
from trainer.models.pretraining_model import PretrainingModel  # noqa: E402
from trainer.pretraining import batch_parts  # noqa: E402
from trainer.pretraining.initial_weights import initialize_weights  # noqa: E402
from trainer.pretraining.optimizer import WarmupThenDecay, build_optimizer  # noqa: E402
from trainer.pretraining.step import JaxTrainStep, dropout_states  # noqa: E402


def build_step(dropout=0.0, layers=1, remat=False, dtype="float32", **options):
    model = PretrainingModel(BertBackbone(120, layers, 2, 16, 32, dropout, 32, dtype=dtype))
    model.backbone.rematerializes = remat
    initialize_weights(model, seed=0)
    schedule = WarmupThenDecay(1e-2, 0, 100, "constant")
    optimizer = build_optimizer(
        "adamw", model.trainable_variables, schedule=schedule, weight_decay=0.01, clip_norm=1.0
    )
    return JaxTrainStep(model, optimizer, seed=5, **options)


@functools.cache
def compiled_step(**options):
    step = build_step(**options)
    return step, step.state()


def make_step(**options):
    """A step in its initial state; equal options share the compiled function, and the object."""
    step, start = compiled_step(**options)
    step.load(start)
    return step


@pytest.fixture(scope="module")
def batches(make_rows):
    datasets = open_datasets([str(make_rows())])
    order = RowOrder([datasets[0].shard_rows("train")], seed=0, batch_size=8)
    maker = BatchMaker(datasets, order, MaskConfig(0.3))
    return [maker.train_batch(step).arrays for step in range(6)]


def test_it_learns(batches):
    step = make_step()
    losses = [float(step.run(k, batches[0])[0]) for k in range(60)]
    assert abs(losses[0] - np.log(120)) < 0.2
    assert losses[-1] < losses[0] - 1
    loss, correct, weight = step.evaluate(batches[0])
    assert weight == batches[0]["mask_weights"].sum()
    assert loss / weight < losses[0]
    assert 0 <= correct <= weight


def test_it_tells_how_far_the_kernels_moved(batches):
    step = make_step()
    before = step.state()
    told = float(step.run(0, batches[0])[4])
    after = step.state()
    kernels = [n for n in before if n.startswith("model") and n.endswith("/kernel")]
    moved, whole = (
        np.concatenate([each(n).astype(np.float64).ravel() for n in kernels])
        for each in (lambda n: after[n] - before[n], lambda n: before[n])
    )
    assert told == pytest.approx(np.linalg.norm(moved) / np.linalg.norm(whole), rel=1e-5)
    # Adam's first step moves each weight by the rate, 0.01; they begin with 0.02 on average.
    assert 0.3 < told < 0.7


def test_accumulated_gradients_are_those_of_the_whole_batch(batches):
    # Rows with very different numbers of masks: a mean of means would differ.
    batch = dict(batches[0])
    batch["mask_weights"] = batch["mask_weights"].copy()
    batch["mask_weights"][::2, 1:] = 0
    whole = make_step(dropout=0.3, grad_accumulation=1)
    parts = make_step(dropout=0.3, grad_accumulation=4)
    first, second = np.asarray(whole.run(0, batch)), np.asarray(parts.run(0, batch))
    np.testing.assert_allclose(first, second, rtol=1e-5)
    for name, values in whole.state().items():
        if name.startswith("optimizer") and "momentum" in name:
            np.testing.assert_allclose(values, parts.state()[name], rtol=1e-3, atol=1e-7)


def test_large_batches_go_in_parts_on_cpus(batches, monkeypatch):
    whole = build_step(dropout=0.3)
    monkeypatch.setattr(batch_parts, "_NUMBERS", 64 * whole._model.backbone.hidden_dim)
    monkeypatch.setattr(batch_parts, "_FEWEST_TOKENS", 1)
    parts = build_step(dropout=0.3)
    states = dropout_states(5, 0, whole._generators)
    memory = []
    for step in (parts, whole):
        compiled = step._step.lower(step._arrays, states, batches[0]).compile()
        memory.append(compiled.memory_analysis().temp_size_in_bytes)
        step._step = compiled
        monkeypatch.undo()
    assert memory[0] < 0.6 * memory[1]
    found, expected = (np.asarray(step.run(0, batches[0])) for step in (parts, whole))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_dropout_depends_on_seed_and_step_alone(batches):
    first = make_step(dropout=0.3)
    start = first.state()
    again = [np.asarray(first.run(0, batches[0]))]
    first.load(start)
    first.run(7, batches[3])
    first.load(start)
    assert np.asarray(first.run(1, batches[0]))[0] != again[0][0]
    first.load(start)
    np.testing.assert_array_equal(np.asarray(first.run(0, batches[0])), again[0])
    states = dropout_states(5, 0, 9)
    assert states.shape == (9, 2)
    assert len(np.unique(states)) == 18
    assert not np.intersect1d(states, dropout_states(5, 1, 9)).size


def test_state_put_back_goes_on_bit_for_bit(batches):
    one = make_step(dropout=0.3)
    for k in range(3):
        one.run(k, batches[k])
    saved = one.state()
    expected = [np.asarray(one.run(k, batches[k])) for k in range(3, 6)]
    other = make_step(dropout=0.3)
    other.load(saved)
    for k, values in zip(range(3, 6), expected, strict=True):
        np.testing.assert_array_equal(np.asarray(other.run(k, batches[k])), values)
    # The snapshot itself did not change while training went on.
    third = make_step(dropout=0.3)
    third.load(saved)
    np.testing.assert_array_equal(np.asarray(third.run(3, batches[3])), expected[0])


def test_steps_in_one_call_give_the_same_bits(batches):
    one, many = build_step(dropout=0.3), build_step(dropout=0.3)
    # Code of XLA's older emitters is rounded otherwise within a loop.
    newer = {"xla_cpu_use_fusion_emitters": True}
    states = np.stack([dropout_states(5, k, one._generators) for k in range(1, 5)])
    for step in (one, many):
        step._step = step._step.lower(step._arrays, states[0], batches[0]).compile(newer)
    many._steps = many._steps.lower(many._arrays, states, batches[1:5]).compile(newer)
    expected = [np.asarray(one.run(k, batches[k])) for k in range(5)]
    found = [*many.run_group(0, batches[:1]), *many.run_group(1, batches[1:5])]
    np.testing.assert_array_equal(np.array(found), expected)
    for name, values in many.state().items():
        np.testing.assert_array_equal(values, one.state()[name], err_msg=name)


@pytest.mark.parametrize(
    ("dtype", "parts", "layers"), [("float32", 1, 4), ("mixed_bfloat16", 2, 2)]
)
def test_rematerialized_layers_give_the_same_in_less_memory(batches, parts, dtype, layers):
    options = {"dropout": 0.3, "layers": layers, "dtype": dtype, "grad_accumulation": parts}
    kept, again = build_step(**options), build_step(**options, remat=True)
    states = dropout_states(5, 0, kept._generators)
    for step in (kept, again):
        step._step = step._step.lower(step._arrays, states, batches[0]).compile()
    for k in range(2):
        expected, found = (np.asarray(step.run(k, batches[k])) for step in (kept, again))
        np.testing.assert_allclose(found, expected, rtol=1e-6 if dtype == "float32" else 1e-2)
    tolerance = 1e-6 if dtype == "float32" else 1e-3
    for name, values in kept.state().items():
        if "momentum" in name:
            np.testing.assert_allclose(again.state()[name], values, rtol=1e-3, atol=tolerance)
    if parts > 1:
        return
    used = [step._step.memory_analysis() for step in (kept, again)]
    assert used[1].temp_size_in_bytes < 0.6 * used[0].temp_size_in_bytes


def test_the_model_gets_the_trained_weights(batches):
    step = make_step()
    step.run(0, batches[0])
    step.update_model()
    outputs = outputs_of(step._model, batches[1])
    np.testing.assert_allclose(float(outputs["loss_sum"]), step.evaluate(batches[1])[0], rtol=1e-5)


def test_a_checkpoint_of_another_model_is_refused(batches):
    with pytest.raises(UserError, match="does not fit this model"):
        make_step().load(build_step(layers=2).state())
