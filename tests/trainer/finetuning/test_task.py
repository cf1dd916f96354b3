from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pipelines.errors import UserError
from pipelines.keyed_random import below, fold, purpose_key
from pipelines.records.ragged import Ragged
from tests.trainer.models.checks.outputs import outputs_of
from trainer.finetuning.encoded import EncodedTexts, run_model
from trainer.finetuning.task import (
    TASK_FILE,
    FinetunedTask,
    first_token_classifier,
    load_finetuned,
    read_task,
)
from trainer.models.bert_backbone import BertBackbone
from trainer.models.bert_text_classifier import BertTextClassifier


@pytest.fixture(scope="module")
def classifier() -> Any:
    backbone = BertBackbone(
        vocabulary_size=50,
        num_layers=2,
        num_heads=2,
        hidden_dim=16,
        intermediate_dim=32,
        max_sequence_length=12,
        dropout=0.0,
    )
    return BertTextClassifier(backbone, num_classes=3, dropout=0.0)


def a_batch() -> dict[str, Any]:
    ids = below(fold(purpose_key(0, "test"), np.arange(5)[:, None], np.arange(12)), 50)
    lengths = np.array([12, 3, 7, 12, 5])
    return {
        "token_ids": ids.astype(np.int32),
        "segment_ids": (ids % 2).astype(np.int32),
        "padding_mask": np.arange(12) < lengths[:, None],
    }


def test_it_gives_the_classifiers_outputs(classifier: Any) -> None:
    model, batch = first_token_classifier(classifier), a_batch()
    expected = outputs_of(classifier, batch)
    np.testing.assert_allclose(outputs_of(model, batch), expected, atol=1e-6)
    batch["token_ids"][1, 3:] = 7  # Padding is not looked at.
    np.testing.assert_allclose(outputs_of(model, batch), expected, atol=1e-6)


def test_it_has_the_classifiers_variables_and_gradients(classifier: Any) -> None:
    model, batch = first_token_classifier(classifier), a_batch()
    assert {id(v) for v in model.trainable_variables} == {
        id(v) for v in classifier.trainable_variables
    }

    def gradients(which: Any) -> dict[int, Any]:
        states = [v.value for v in which.non_trainable_variables]

        def loss(weights: Any) -> Any:
            logits, _ = which.stateless_call(weights, states, batch, training=True)
            return jnp.sum(jnp.sin(logits))

        found = jax.jit(jax.grad(loss))([v.value for v in which.trainable_variables])
        return {id(v): g for v, g in zip(which.trainable_variables, found, strict=True)}

    expected, found = gradients(classifier), gradients(model)
    assert max(float(jnp.abs(g).max()) for g in expected.values()) > 0.1
    for name, gradient in expected.items():
        np.testing.assert_allclose(found[name], gradient, atol=1e-6)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_outputs_that_are_no_numbers_are_refused(classifier: Any, value: float) -> None:
    model, bias = first_token_classifier(classifier), classifier.output_dense.bias
    tokens = Ragged(np.array([1, 2, 1, 2, 3], np.int32), np.array([0, 2, 5]))
    encoded = EncodedTexts(tokens, np.array([2, 3]), np.array([False, False]), 12, 0)
    assert np.isfinite(run_model(model, encoded, 2)).all()
    before = np.asarray(bias)
    bias.assign(np.array([0, value, 0]))
    with pytest.raises(UserError, match="gives NaN or infinity for 2 of 2 texts"):
        run_model(model, encoded, 2)
    bias.assign(before)


TASK = {
    "task": "classification",
    "classes": ["bad", "good"],
    "text_field": "text",
    "text_pair_field": "",
    "label_field": "label",
    "seq_length": 128,
}


def test_the_file_of_a_task(tmp_path: Path) -> None:
    path = tmp_path / TASK_FILE
    path.write_text(json.dumps(TASK))
    expected = FinetunedTask("classification", ("bad", "good"), "text", "", "label", 128)
    assert read_task(str(path)) == expected
    path.write_text(json.dumps(TASK | {"task": "regression", "classes": []}))
    assert read_task(str(path)).classes == ()


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"classes": "ng"}, "classes is not a list of names"),
        ({"classes": ["a", 1]}, "classes is not a list of names"),
        ({"classes": ["a", [1]]}, "classes is not a list of names"),
        ({"classes": ["a", "\ud800"]}, "not JSON"),
        ({"classes": ["a", ""]}, "classes is not a list of names"),
        ({"classes": None}, "classes is not a list of names"),
        ({"classes": ["a", "a"]}, "two classes have one name"),
        ({"classes": []}, "task is 'classification' with 0 classes"),
        ({"task": "regression"}, "task is 'regression' with 2 classes"),
        ({"task": ["x"]}, "task is"),
        ({"seq_length": "128"}, "seq_length is not a length"),
        ({"seq_length": True}, "seq_length is not a length"),
        ({"text_field": 5}, "the name of a field is no text"),
        ({"more": 5}, "not the fields of a task"),
    ],
)
def test_what_fine_tuning_did_not_write_is_refused(
    tmp_path: Path, changed: dict[str, Any], problem: str
) -> None:
    path = tmp_path / TASK_FILE
    path.write_text(json.dumps(TASK | changed))
    with pytest.raises(UserError, match=f"{TASK_FILE} is damaged: {problem}.*; fine-tune again"):
        read_task(str(path))


def test_the_classes_of_another_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / TASK_FILE).write_text(json.dumps(TASK))

    class Loaded:
        preprocessor, num_classes = object(), 3

    monkeypatch.setattr(BertTextClassifier, "from_preset", lambda folder: Loaded)
    with pytest.raises(UserError, match="has 2 classes, which the model beside it does not give"):
        load_finetuned(str(tmp_path))
