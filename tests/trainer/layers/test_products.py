"""bfloat16 products that are summed in float32: values, gradients, whole layers, a whole step."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

keras = pytest.importorskip("keras")
jax = pytest.importorskip("jax")
jnp = pytest.importorskip("jax.numpy")

from trainer.layers.products import cpu_multiplies_bfloat16, einsum, project  # noqa: E402
from trainer.layers.transformer_encoder import TransformerEncoder  # noqa: E402
from trainer.models.bert_backbone import BertBackbone  # noqa: E402
from trainer.models.pretraining_model import PretrainingModel  # noqa: E402
from trainer.pretraining.optimizer import WarmupThenDecay, build_optimizer  # noqa: E402
from trainer.pretraining.step import JaxTrainStep  # noqa: E402

if keras.config.backend() != "jax" or jax.default_backend() != "cpu":
    pytest.skip("only JAX on a CPU multiplies this way", allow_module_level=True)

_SIZES = {"a": 3, "b": 2, "c": 32, "d": 16, "e": 8, "h": 4, "k": 40, "q": 24}


@pytest.mark.parametrize(
    "equation",
    [
        "abc,cd->abd",  # Dense
        "abc,cde->abde",  # queries, keys, values
        "abcd,cde->abe",  # the output of attention
        "bqhd,bkhd->bhqk",  # scores
        "bkhd,bhqk->bqhd",  # the mixture
    ],
)
def test_products_and_their_gradients_are_rounded_once(equation: str) -> None:
    rng = np.random.default_rng(1)
    names = equation.replace("->", ",").split(",")
    shapes = [[_SIZES[index] for index in indices] for indices in names]
    left, right, weights = (jnp.asarray(rng.normal(size=s), jnp.bfloat16) for s in shapes)

    def results(product, left, right):
        def weighted(left, right):
            out = product(equation, left, right)
            return (out * weights.astype(out.dtype)).astype("float32").sum(), out

        step = jax.jit(jax.value_and_grad(weighted, argnums=(0, 1), has_aux=True))
        (_, out), gradients = step(left, right)
        return out, *gradients

    ours = results(einsum, left, right)
    exact = results(jnp.einsum, left.astype("float32"), right.astype("float32"))
    for one, other in zip(ours, exact, strict=True):
        assert one.dtype == jnp.bfloat16
        other = np.asarray(other)
        greatest = np.abs(other).max()
        # Half a unit in the last of eight binary places, and float32's own error.
        np.testing.assert_allclose(
            np.asarray(one, np.float32), other, rtol=2**-8, atol=1e-5 * greatest
        )


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_bias_gets_the_sum_over_all_tokens(dtype: str) -> None:
    layer = keras.layers.Dense(24, dtype="mixed_bfloat16" if dtype == "bfloat16" else dtype)
    rng = np.random.default_rng(2)
    inputs = jnp.asarray(rng.normal(size=(3, 700, 16)), dtype)
    weights = jnp.asarray(rng.normal(size=(3, 700, 24)) + 1, dtype)
    layer.build(inputs.shape)
    state = [jnp.asarray(rng.normal(size=v.shape), "float32") for v in layer.trainable_variables]

    def weighted(state: list[Any]) -> Any:
        with keras.StatelessScope(list(zip(layer.trainable_variables, state, strict=True))):
            return (project(layer, inputs) * weights).astype("float32").sum()

    expected = np.asarray(weights, np.float64).sum(axis=(0, 1))
    np.testing.assert_allclose(
        jax.jit(jax.grad(weighted))(state)[1], expected, rtol=2**-8 if dtype == "bfloat16" else 1e-6
    )


def test_all_large_products_of_a_step_are_summed_in_float32() -> None:
    backbone = BertBackbone(60, 2, 2, 16, 32, 0.1, 24, dtype="mixed_bfloat16")
    model = PretrainingModel(backbone, portable_head=True)
    ids = np.ones((4, 24), "int32")
    batch = {"token_ids": ids, "segment_ids": 0 * ids, "padding_mask": ids, "document_ids": ids}
    batch |= {"mask_positions": ids[:, :5], "mask_ids": ids[:, :5]}
    batch |= {"mask_weights": np.ones((4, 5), "float32")}

    def loss(weights, others):
        return model.stateless_call(weights, others, batch, training=True)[0]["loss"]

    weights = [v.value for v in model.trainable_variables]
    others = [v.value for v in model.non_trainable_variables]
    program = jax.jit(jax.grad(loss)).lower(weights, others).as_text()
    products = [line for line in program.splitlines() if "dot_general" in line]
    assert len(products) > 30
    for line in products:
        # Inputs of bfloat16, or small ones of float32 from the normalisations: never bfloat16 out.
        result = line.rsplit("->", 1)[1]
        assert "bf16" not in result, line


def test_a_layer_in_mixed_precision_is_that_layer_to_rounding() -> None:
    rng = np.random.default_rng(2)
    inputs = rng.normal(size=(2, 24, 32)).astype("float32")
    mask = np.tril(np.ones((2, 24, 24), bool))
    layers = [
        TransformerEncoder(64, 4, activation="gelu", dtype=dtype)
        for dtype in ("float32", "mixed_bfloat16")
    ]
    for layer in layers:
        layer.build(inputs.shape)
    layers[1].set_weights([rng.normal(0, 0.2, w.shape) for w in layers[0].get_weights()])
    layers[0].set_weights(layers[1].get_weights())
    plain, mixed = (np.asarray(layer(inputs, attention_mask=mask), "float32") for layer in layers)
    assert 0 < np.abs(plain - mixed).max() < 0.1
    assert np.abs(plain - mixed).mean() < 0.01


def test_a_quantized_layer_multiplies_its_own_way() -> None:
    inputs = np.random.default_rng(3).normal(size=(2, 5, 16)).astype(np.float32)
    for layer in (
        keras.layers.Dense(24),
        keras.layers.EinsumDense("abc,cde->abde", (None, 4, 6), bias_axes="de"),
    ):
        before = np.asarray(layer(inputs))
        layer.quantize("int8")
        np.testing.assert_array_equal(project(layer, inputs), layer(inputs))
        np.testing.assert_allclose(project(layer, inputs), before, atol=0.05)


def test_a_layer_with_lora_multiplies_with_the_merged_kernel() -> None:
    inputs = np.random.default_rng(4).normal(size=(2, 5, 16)).astype(np.float32)
    for layer in (keras.layers.Dense(24), keras.layers.EinsumDense("abc,cde->abde", (None, 4, 6))):
        before = np.asarray(layer(inputs))
        layer.enable_lora(2, b_initializer="ones")
        assert np.abs(np.asarray(project(layer, inputs)) - before).max() > 0.1
        np.testing.assert_allclose(project(layer, inputs), layer(inputs), atol=1e-5)


@pytest.mark.skipif(
    not cpu_multiplies_bfloat16(), reason="this CPU has no instructions for products of bfloat16"
)
@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_no_product_of_a_compiled_step_is_computed_in_float32(dropout: float) -> None:
    backbone = BertBackbone(500, 2, 2, 64, 256, dropout, 64, dtype="mixed_bfloat16")
    model = PretrainingModel(backbone, portable_head=True)
    schedule = WarmupThenDecay(1e-3, 1, 10, "linear")
    optimizer = build_optimizer(
        "muon",
        model.trainable_variables,
        schedule=schedule,
        weight_decay=0.01,
        clip_norm=1.0,
        compute_dtype="bfloat16",
    )
    ids = np.ones((16, 64), "int32")
    batch = {"token_ids": ids, "segment_ids": 0 * ids, "padding_mask": ids, "document_ids": ids}
    batch |= {"mask_positions": ids[:, :16], "mask_ids": ids[:, :16]}
    batch |= {"mask_weights": np.ones((16, 16), "float32")}
    step = JaxTrainStep(model, optimizer, seed=0)
    states = np.zeros((len(model.non_trainable_variables), 2), np.uint32)
    program = step._step.lower(step._arrays, states, batch).compile().as_text()
    products = re.findall(r"\n%\S+ \((.*)\) -> .*\{\n(?:.* parameter\(.*\n)*.* dot\(", program)
    assert len(products) > 100
    in_float32 = [product for product in products if "f32" in product]
    # Only the segments' one-hot vectors may be multiplied so.
    assert [product for product in in_float32 if "f32[1024,2]" not in product] == []
