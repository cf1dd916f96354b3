from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pipelines.keyed_random import below, fold, purpose_key
from trainer.finetuning.task import first_token_classifier
from trainer.models.bert_backbone import BertBackbone
from trainer.models.bert_text_classifier import BertTextClassifier


@pytest.fixture(scope="module")
def classifier() -> Any:
    backbone = BertBackbone(
        vocabulary_size=50,
        num_layers=3,
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
    expected = np.asarray(classifier(batch, training=False))
    np.testing.assert_allclose(np.asarray(model(batch, training=False)), expected, atol=1e-6)
    batch["token_ids"][1, 3:] = 7  # Padding is not looked at.
    np.testing.assert_allclose(np.asarray(model(batch, training=False)), expected, atol=1e-6)


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

        found = jax.grad(loss)([v.value for v in which.trainable_variables])
        return {id(v): g for v, g in zip(which.trainable_variables, found, strict=True)}

    expected, found = gradients(classifier), gradients(model)
    assert max(float(jnp.abs(g).max()) for g in expected.values()) > 0.1
    for name, gradient in expected.items():
        np.testing.assert_allclose(found[name], gradient, atol=1e-6)
