"""Learning rate, optimizers and initial weights against formulas written out in numpy."""

from __future__ import annotations

import math
import os

import numpy as np
import pytest

os.environ.setdefault("KERAS_BACKEND", "jax")

keras = pytest.importorskip("keras")

from pipelines.keyed_random import purpose_key  # noqa: E402
from trainer.pretraining.initial_weights import (  # noqa: E402
    draw_truncated_normal,
    initialize_weights,
    make_sinusoids,
)
from trainer.pretraining.optimizer import (  # noqa: E402
    WarmupThenDecay,
    build_optimizer,
    is_decayed,
)


@pytest.mark.parametrize(
    ("schedule", "halfway"), [("linear", 0.5), ("cosine", 0.5), ("constant", 1.0)]
)
def test_rate_rises_linearly_then_falls(schedule, halfway):
    rate = WarmupThenDecay(2.0, 4, 14, schedule)
    values = [float(rate(step)) for step in range(14)]
    np.testing.assert_allclose(values[:5], [0.5, 1.0, 1.5, 2.0, 2.0], rtol=1e-6)
    np.testing.assert_allclose(values[9], 2 * halfway, rtol=1e-6)
    if schedule == "linear":
        np.testing.assert_allclose(np.diff(values[4:]), -0.2, rtol=1e-5)
        assert values[-1] > 0
    with pytest.raises(ValueError, match="choose one of"):
        WarmupThenDecay(1.0, 1, 2, "exponential")


def make_variables():
    return [
        keras.Variable(np.full((2, 3), 0.5, np.float32), name="kernel"),
        keras.Variable(np.full(3, 0.5, np.float32), name="bias"),
        keras.Variable(np.full(3, 1.0, np.float32), name="gamma"),
    ]


def apply_once(name, variables, gradients, **options):
    schedule = WarmupThenDecay(0.1, 0, 1, "constant")
    optimizer = build_optimizer(
        name, variables, schedule=schedule, **{"weight_decay": 0.5, "clip_norm": 0.0} | options
    )
    arrays = [keras.ops.convert_to_tensor(g) for g in gradients]
    optimizer.apply(arrays, variables)
    return [keras.ops.convert_to_numpy(variable) for variable in variables]


def test_adamw_decays_kernels_only():
    gradients = [np.full(s, 0.25, np.float32) for s in ((2, 3), (3,), (3,))]
    kernel, bias, gamma = apply_once("adamw", make_variables(), gradients)
    # In the first step Adam moves by the rate against the gradient's sign.
    np.testing.assert_allclose(kernel, 0.5 - 0.1 * 0.5 * 0.5 - 0.1, rtol=1e-4)
    np.testing.assert_allclose(bias, 0.5 - 0.1, rtol=1e-4)
    np.testing.assert_allclose(gamma, 1.0 - 0.1, rtol=1e-4)


def test_gradients_are_clipped_by_their_norm_over_all_variables():
    def moments(scale):
        variables = make_variables()
        schedule = WarmupThenDecay(0.1, 0, 1, "constant")
        optimizer = build_optimizer(
            "adamw", variables, schedule=schedule, weight_decay=0.0, clip_norm=1.0
        )
        optimizer.apply([keras.ops.full(v.shape, scale, "float32") for v in variables], variables)
        found = [v for v in optimizer.variables if "momentum" in v.path]
        return np.concatenate([keras.ops.convert_to_numpy(v).ravel() for v in found])

    np.testing.assert_allclose(np.linalg.norm(moments(7.0)), 0.1, rtol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(moments(0.1)), 0.1 * 0.1 * math.sqrt(12), rtol=1e-5)


def test_lamb_is_that_of_the_paper():
    weights = np.array([[0.3, -0.4], [0.0, 1.2]], np.float32)
    kernel = keras.Variable(weights, name="kernel")
    bias = keras.Variable(np.array([0.5, -0.5], np.float32), name="bias")
    gradient = np.array([[0.1, 0.2], [-0.3, 0.4]], np.float32)
    new_kernel, new_bias = apply_once("lamb", [kernel, bias], [gradient, gradient[0]])
    # Algorithm 2: corrected moments are g and g**2 in the first step.
    update = gradient / (np.abs(gradient) + 1e-6) + 0.5 * weights
    ratio = np.linalg.norm(weights) / np.linalg.norm(update)
    np.testing.assert_allclose(new_kernel, weights - 0.1 * ratio * update, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(new_bias, [0.5 - 0.1, -0.5 - 0.1], rtol=1e-4)


def test_every_variable_of_the_model_is_sorted_rightly():
    from trainer.models.bert_backbone import BertBackbone
    from trainer.models.pretraining_model import PretrainingModel

    model = PretrainingModel(BertBackbone(30, 1, 2, 8, 16))
    spared = {v.path for v in model.trainable_variables if not is_decayed(v)}
    decayed = {v.path for v in model.trainable_variables if is_decayed(v)}
    assert all(path.endswith(("/kernel", "/embeddings")) for path in decayed)
    assert len(decayed) == 3 + 6 + 1 + 1
    assert "transformer_layer_0/self_attention_layer/query/bias" in spared
    assert "mlm_head/output_bias" in spared


def test_initial_weights_are_a_normal_distribution_cut_at_two():
    values = draw_truncated_normal(purpose_key(1, "test"), 200_000)
    assert np.abs(values).max() <= 2
    assert abs(values.mean()) < 0.01
    assert abs(values.std() - 0.8796) < 0.005  # of the truncated distribution
    assert abs((np.abs(values) < 1).mean() - 0.6827 / 0.9545) < 0.005
    np.testing.assert_array_equal(values[:10], draw_truncated_normal(purpose_key(1, "test"), 10))


def test_positions_may_begin_as_waves():
    waves = make_sinusoids(7, 5)
    assert waves.dtype == np.float32
    expected = [math.sin(3), math.sin(3 / 10000 ** (1 / 3)), math.sin(3 / 10000 ** (2 / 3))]
    expected += [math.cos(3), math.cos(3 / 10000 ** (1 / 3))]
    np.testing.assert_allclose(waves[3], expected, rtol=1e-6)

    from trainer.models.bert_backbone import BertBackbone
    from trainer.models.pretraining_model import PretrainingModel

    weights = []
    for sinusoidal in (False, True):
        backbone = BertBackbone(
            vocabulary_size=9, num_layers=1, num_heads=2, hidden_dim=8, intermediate_dim=16
        )
        model = PretrainingModel(backbone, portable_head=True, next_sentence=False)
        initialize_weights(model, 3, sinusoidal_positions=sinusoidal)
        weights.append({v.path: np.array(v.numpy()) for v in model.trainable_variables})
    differing = [
        path for path in weights[0] if not np.array_equal(weights[0][path], weights[1][path])
    ]
    assert differing == ["position_embedding/embeddings"]
    np.testing.assert_array_equal(
        weights[1][differing[0]], np.float32(0.1) * make_sinusoids(512, 8)
    )
