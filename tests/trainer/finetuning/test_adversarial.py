"""Adversarial training: the shift is the worst of its length, and no text changes another's."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import keras
import numpy as np
import pytest

from pipelines.command.run import RunOptions
from pipelines.errors import UserError
from tests.trainer.finetuning.word_preset import WIDTH, a_classifier, texts_of
from trainer.finetune import finetune
from trainer.finetuning.task import reading_model
from trainer.finetuning.training_model import TrainingModel
from trainer.finetuning.windows import lay_out

_LENGTH = 8
_LABELS = np.array([0, 1, 1])


def a_model(classifier: Any, length: float) -> Any:
    model = TrainingModel(reading_model(classifier, in_windows=True, shifted=True), WIDTH, length)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer="sgd", loss=loss)
    return model


def a_batch() -> dict[str, Any]:
    return lay_out(texts_of(13, 2, 20), 3, _LENGTH, pad_id=0)


def loss_sum(model: Any, batch: dict[str, Any], weights: Any) -> float:
    """What a step minimises."""
    state = [
        [variable.value for variable in variables]
        for variables in (
            model.trainable_variables,
            model.non_trainable_variables,
            model.metrics_variables,
        )
    ]
    model.optimizer.build(model.trainable_variables)
    return float(model.compute_loss_and_updates(*state, batch, _LABELS, weights)[0])


def loss_at(model: Any, batch: dict[str, Any], shift: Any) -> float:
    outputs = model({**batch, "shift": shift})
    return float(model.loss(_LABELS, outputs))


def test_the_shift_is_the_worst_of_its_length():
    model, batch, length = a_model(a_classifier(_LENGTH), 0.05), a_batch(), 0.05
    shape = (*batch["token_ids"].shape, WIDTH)
    clean = loss_at(model, batch, np.zeros(shape, np.float32))
    worst = loss_sum(model, batch, np.ones(3, np.float32)) - clean
    rng = np.random.default_rng(0)

    def moved(shift: Any) -> float:
        norms = np.sqrt(np.square(shift).sum(axis=(1, 2, 3), keepdims=True))
        return loss_at(model, batch, (length * shift / norms).astype(np.float32))

    assert worst > clean
    assert worst > max(moved(rng.normal(size=shape)) for _ in range(30))
    gradient = jax.grad(lambda shift: model.loss(_LABELS, model({**batch, "shift": shift})))
    steepest = np.asarray(gradient(np.zeros(shape, np.float32)))
    np.testing.assert_allclose(worst, moved(steepest), rtol=1e-5)
    # To first order it is the length times the norm of each text's gradient.
    rise = length * np.sqrt(np.square(steepest).sum(axis=(1, 2, 3))).sum()
    assert worst - clean == pytest.approx(rise, rel=0.1)


def test_a_step_follows_both_gradients():
    model, batch, length = a_model(a_classifier(_LENGTH), 0.05), a_batch(), 0.05
    shape = (*batch["token_ids"].shape, WIDTH)
    model.optimizer.build(model.trainable_variables)
    others = [
        [variable.value for variable in variables]
        for variables in (model.non_trainable_variables, model.metrics_variables)
    ]
    weights = [variable.value for variable in model.trainable_variables]

    def total(weights: Any) -> Any:
        ones = np.ones(3, np.float32)
        return model.compute_loss_and_updates(weights, *others, batch, _LABELS, ones)[0]

    def alone(weights: Any, shift: Any) -> Any:
        outputs, _ = model.stateless_call(weights, others[0], {**batch, "shift": shift})
        return model.loss(_LABELS, outputs)

    zero = np.zeros(shape, np.float32)
    by_weights, by_shift = jax.grad(alone, argnums=(0, 1))(weights, zero)
    norms = np.sqrt(np.square(by_shift).sum(axis=(1, 2, 3), keepdims=True))
    shifted = jax.grad(alone)(weights, length * by_shift / norms)
    for found, clean, moved in zip(jax.grad(total)(weights), by_weights, shifted, strict=True):
        np.testing.assert_allclose(found, clean + moved, rtol=1e-4, atol=1e-6)


def test_rows_that_fill_a_batch_up_change_nothing():
    model, batch = a_model(a_classifier(_LENGTH), 2.0), a_batch()
    weights = np.array([1, 1, 0], np.float32)
    found = loss_sum(model, batch, weights)
    changed = {name: values.copy() for name, values in batch.items()}
    changed["token_ids"][2] = changed["token_ids"][2, ::-1]
    assert np.isfinite(found)
    np.testing.assert_allclose(loss_sum(model, changed, weights), found, rtol=1e-6)


def test_a_classifier_learns_by_it(windows_config, tmp_path):
    harder = replace(windows_config, adversarial=0.1, output=str(tmp_path / "out"))
    report = finetune(harder, RunOptions())
    plain = finetune(replace(windows_config, output=str(tmp_path / "plain")), RunOptions())
    assert report is not None
    assert plain is not None
    assert report["accuracy"] > 0.95
    assert report["loss"] != plain["loss"]


def test_other_backends_are_refused_before_anything_is_written(
    windows_config, tmp_path, monkeypatch
):
    monkeypatch.setattr(keras.config, "backend", lambda: "tensorflow")
    with pytest.raises(UserError, match="needs JAX"):
        finetune(
            replace(windows_config, adversarial=2.0, output=str(tmp_path / "out")), RunOptions()
        )
    assert not (tmp_path / "out").exists()
