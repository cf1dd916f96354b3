"""A step in parts is the step of the whole batch, in less memory."""

from __future__ import annotations

from typing import Any

import jax
import keras
import numpy as np
import pytest

from tests.trainer.finetuning.word_preset import WIDTH, a_classifier, texts_of
from trainer.finetuning.task import reading_model
from trainer.finetuning.training_model import TrainingModel
from trainer.finetuning.windows import lay_out
from trainer.pretraining import batch_parts
from trainer.pretraining.batch_parts import parts_for_speed

_LENGTH = 8
_LABELS = np.array([0, 1, 1, 0, 1, 0, 0, 1])
_WEIGHTS = np.array([1, 1, 1, 1, 1, 1, 0, 0], np.float32)


def a_model(length: float = 0.0) -> Any:
    classifier = reading_model(a_classifier(_LENGTH), in_windows=True, shifted=length > 0)
    model = TrainingModel(classifier, WIDTH, length)
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.optimizer.build(model.trainable_variables)
    return model


def a_batch() -> dict[str, Any]:
    """Four texts, each twice."""
    texts = lay_out(texts_of(3, 2, 4, 1), 4, _LENGTH, pad_id=0)
    return {name: np.repeat(values, 2, axis=0) for name, values in texts.items()}


def step_of(model: Any, batch: Any, **options: Any) -> Any:
    """The function that Keras differentiates, and its arguments."""
    trainable, others, metrics, optimizer = (
        [variable.value for variable in variables]
        for variables in (
            model.trainable_variables,
            model.non_trainable_variables,
            model.metrics_variables,
            model.optimizer.variables,
        )
    )
    options["optimizer_variables"] = optimizer

    def step(weights: Any) -> Any:
        return model.compute_loss_and_updates(
            weights, others, metrics, batch, _LABELS, _WEIGHTS, **options
        )

    return jax.value_and_grad(step, has_aux=True), trainable


def small_parts(monkeypatch: pytest.MonkeyPatch, tokens: int) -> None:
    monkeypatch.setattr(batch_parts, "_NUMBERS", tokens * WIDTH)
    monkeypatch.setattr(batch_parts, "_FEWEST_TOKENS", 1)


@pytest.mark.parametrize("length", [0, 0.05])
def test_loss_outputs_and_gradients_are_those_of_the_whole(length, monkeypatch):
    model, batch = a_model(length), a_batch()
    step, weights = step_of(model, batch)
    (whole, (reported, outputs, *_)), gradients = step(weights)
    small_parts(monkeypatch, 2 * _LENGTH)
    assert parts_for_speed(8, batch["token_ids"].size, WIDTH) == 4
    (loss, (told, found, *_)), ours = step(weights)
    np.testing.assert_allclose([loss, told], [whole, reported], rtol=1e-6)
    np.testing.assert_allclose(found, outputs, rtol=1e-5, atol=1e-6)
    for one, other in zip(ours, gradients, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-7)
    assert (loss > told) == (length > 0)


def test_each_part_draws_its_own_dropout(monkeypatch):
    small_parts(monkeypatch, _LENGTH)
    model, text = a_model(), lay_out(texts_of(3), 1, _LENGTH, pad_id=0)
    batch = {name: np.repeat(values, 8, axis=0) for name, values in text.items()}
    step, weights = step_of(model, batch, training=True)
    (_, (_, outputs, others, _)), _ = step(weights)
    assert len(np.unique(np.asarray(outputs), axis=0)) == 8
    begun = [variable.value for variable in model.non_trainable_variables]
    assert any((one != other).any() for one, other in zip(others, begun, strict=True))


def test_it_takes_less_memory(monkeypatch):
    def memory() -> int:
        step, weights = step_of(a_model(), a_batch(), training=True)
        return int(jax.jit(step).lower(weights).compile().memory_analysis().temp_size_in_bytes)

    whole = memory()
    small_parts(monkeypatch, _LENGTH)
    assert memory() < whole / 2


def test_parts_divide_the_rows():
    assert parts_for_speed(32, 32 * 64, 256) == 1
    assert parts_for_speed(32, 32 * 128, 128) == 1
    assert parts_for_speed(32, 32 * 128, 256) == 2
    assert parts_for_speed(32, 32 * 3 * 256, 768) == 16
    assert parts_for_speed(12, 12 * 2048, 256) == 4
    assert parts_for_speed(1, 8 * 512, 256) == 1
    assert parts_for_speed(7, 7 * 2048, 256) == 1
