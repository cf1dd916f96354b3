"""Fused attention is explicit attention, and never holds probabilities, shown without the devices.

The TPU kernel runs in JAX's interpreter; what a TPU or a GPU would run is seen in the exported
program, which JAX makes on any machine.
"""

from __future__ import annotations

import functools

import numpy as np
import pytest

keras = pytest.importorskip("keras")
jax = pytest.importorskip("jax")
jnp = pytest.importorskip("jax.numpy")

from trainer.layers import attention, self_attention  # noqa: E402
from trainer.layers.attention import attend_explicitly, dense_mask  # noqa: E402
from trainer.layers.attention_on_cpu import attend_on_cpu  # noqa: E402
from trainer.layers.splash_attention import attend_by_splash  # noqa: E402
from trainer.layers.transformer_encoder import TransformerEncoder  # noqa: E402
from trainer.models.bert_backbone import BertBackbone  # noqa: E402
from trainer.models.pretraining_model import PretrainingModel  # noqa: E402

if keras.config.backend() != "jax" or jax.default_backend() != "cpu":
    pytest.skip("these proofs are for JAX on a CPU", allow_module_level=True)

_ROWS, _LENGTH, _HEADS, _HEAD_DIM, _SCALE = 2, 200, 2, 16, 0.25
_PACKED = np.repeat([[1, 2, 3, 0], [1, 1, 1, 2]], 50, axis=1).astype(np.int32)
_PADDED = (np.arange(_LENGTH) < np.array([[200], [77]])).astype(np.int32)
_SELECTED = np.array([[3, 60, 60, 149], [0, 51, 120, 199]])
_KINDS = {
    "packed": {"key_ids": _PACKED, "query_ids": _PACKED},
    "padded": {"key_ids": _PADDED, "query_ids": None},
    "plain": {"key_ids": None, "query_ids": None},
    "selected": {"key_ids": _PACKED, "query_ids": np.take_along_axis(_PACKED, _SELECTED, axis=1)},
}
_splash = functools.partial(attend_by_splash, interpret=True)


def _dense(form, query, key, value, key_ids, query_ids, scale):
    return form(query, key, value, dense_mask(None, key_ids, query_ids), scale)


_FORMS = {
    "splash": _splash,
    "on a CPU": functools.partial(_dense, attend_on_cpu),
    "explicit": functools.partial(_dense, attend_explicitly),
}
_CLOSE = {"float32": 2e-5, "bfloat16": 4e-2}
_FAST = [(form, dtype) for form in ("splash", "on a CPU") for dtype in _CLOSE]


def arrays_of(kind: str) -> list[np.ndarray]:
    """Queries, keys, values, and weights of the outputs."""
    rng = np.random.default_rng(0)
    queries = _SELECTED.shape[1] if kind == "selected" else _LENGTH
    lengths = (queries, _LENGTH, _LENGTH, queries)
    return [rng.normal(size=(_ROWS, n, _HEADS, _HEAD_DIM)).astype("float32") for n in lengths]


@functools.cache
def _step(kind: str, form: str):
    ids = _KINDS[kind]

    def weighted(query, key, value, weights):
        out = _FORMS[form](query, key, value, ids["key_ids"], ids["query_ids"], _SCALE)
        return (out.astype("float32") * weights).sum(), out

    return jax.jit(jax.value_and_grad(weighted, argnums=(0, 1, 2), has_aux=True))


def outputs_and_gradients(kind: str, form: str, dtype: str, arrays=None) -> list[np.ndarray]:
    arrays = arrays_of(kind) if arrays is None else arrays
    (_, out), gradients = _step(kind, form)(*(jnp.asarray(a, dtype) for a in arrays))
    return [np.asarray(x, "float32") for x in (out, *gradients)]


@pytest.mark.parametrize(("form", "dtype"), _FAST)
@pytest.mark.parametrize("kind", _KINDS)
def test_fast_forms_are_explicit_attention(kind: str, form: str, dtype: str) -> None:
    fast = outputs_and_gradients(kind, form, dtype)
    rounded = [np.asarray(jnp.asarray(a, dtype), "float32") for a in arrays_of(kind)]
    exact = outputs_and_gradients(kind, "explicit", "float32", rounded)
    for one, other in zip(fast, exact, strict=True):
        assert one.shape == other.shape
        np.testing.assert_allclose(one, other, atol=_CLOSE[dtype])


@pytest.mark.parametrize(("form", "dtype"), _FAST)
def test_a_changed_document_changes_nothing_in_its_neighbours(form: str, dtype: str) -> None:
    changed = _PACKED == 2
    arrays = arrays_of("packed")
    others = [np.where(changed[:, :, None, None], -3 * array, array) for array in arrays]
    before = outputs_and_gradients("packed", form, dtype, arrays)
    after = outputs_and_gradients("packed", form, dtype, others)
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one[~changed], other[~changed])
        assert np.abs(one[changed] - other[changed]).max() > 0.1


def test_attention_on_a_cpu_takes_any_number_of_rows() -> None:
    def attend(query, key, value, ids):
        return _dense(attend_on_cpu, query, key, value, ids, ids, _SCALE)

    inputs = [jnp.asarray(a) for a in (*arrays_of("packed")[:3], _PACKED)]
    assert attend(*(x[:0] for x in inputs)).shape == (0, _LENGTH, _HEADS, _HEAD_DIM)
    rows = jax.export.symbolic_shape("rows")
    shapes = [jax.ShapeDtypeStruct((*rows, *x.shape[1:]), x.dtype) for x in inputs]
    exported = jax.export.export(jax.jit(attend))(*shapes)
    np.testing.assert_allclose(exported.call(*inputs), attend(*inputs), atol=1e-6)


def test_with_a_mesh_every_device_attends_with_its_own_heads() -> None:
    arrays = [jnp.asarray(a) for a in arrays_of("packed")[:3]]
    expected = _splash(*arrays, _PACKED, _PACKED, _SCALE)
    devices = np.array(jax.devices()[:1]).reshape(1, 1)
    with jax.set_mesh(jax.sharding.Mesh(devices, ("batch", "model"))):

        def program(*inputs):
            return _splash(*inputs, _PACKED, _PACKED, _SCALE)

        assert "shard_map" in str(jax.make_jaxpr(program)(*arrays))
        np.testing.assert_array_equal(jax.jit(program)(*arrays), expected)


def test_a_layer_called_eagerly_takes_the_mask_of_each_row(monkeypatch) -> None:
    layer = TransformerEncoder(64, 2)
    inputs = np.random.default_rng(1).normal(size=(_ROWS, _LENGTH, 32)).astype("float32")
    calls = [{"document_ids": _PACKED}, {"padding_mask": _PADDED}, {}]
    expected = [np.asarray(layer(inputs, **call)) for call in calls]

    def on_a_tpu(query, key, value, *, scale, mask=None, key_ids=None, query_ids=None):
        assert mask is None
        return _splash(query, key, value, key_ids, query_ids, scale)

    monkeypatch.setattr(self_attention, "attend", on_a_tpu)
    for call, wanted in zip(calls, expected, strict=True):
        np.testing.assert_allclose(layer(inputs, **call), wanted, atol=2e-5)


# ------------------------------------------------------------------------------ Exported programs

_CUDNN_CALLS = ("__cudnn$fmhaScaleBiasSoftmax", "__cudnn$fmhaScaleBiasSoftmaxBackward")


@functools.cache
def _model(attention_dropout: float | None) -> PretrainingModel:
    backbone = BertBackbone(
        90, 2, 2, 128, 64, 0.1, 256, dtype="mixed_bfloat16", attention_dropout=attention_dropout
    )
    return PretrainingModel(backbone)


def exported_step(platform: str, attention_dropout: float | None = 0.0) -> str:
    """The program of loss and gradients on 3 packed rows of 256 with 40 masks."""
    model = _model(attention_dropout)
    row, masks = jax.ShapeDtypeStruct((3, 256), "int32"), jax.ShapeDtypeStruct((3, 40), "int32")
    batch = dict.fromkeys(("token_ids", "segment_ids", "padding_mask", "document_ids"), row)
    batch |= {"mask_positions": masks, "mask_ids": masks}
    batch["mask_weights"] = jax.ShapeDtypeStruct((3, 40), "float32")

    def loss_of(weights, others, batch):
        return model.stateless_call(weights, others, batch, training=True)[0]["loss"]

    weights = [v.value for v in model.trainable_variables]
    others = [v.value for v in model.non_trainable_variables]
    step = jax.jit(jax.value_and_grad(loss_of))
    # What cuDNN's calls look like may change with JAX, so exporting them has to be allowed.
    allowed = [jax.export.DisabledSafetyCheck.custom_call(name) for name in _CUDNN_CALLS]
    export = jax.export.export(step, platforms=[platform], disabled_checks=allowed)
    return export(weights, others, batch).mlir_module()


def has_probabilities(program: str) -> bool:
    """Whether a tensor is [rows, heads, queries, keys], for all queries or for the masked ones."""
    return any(f"tensor<3x2x{queries}x256x" in program for queries in (256, 40))


def test_a_tpu_trains_with_the_kernel_and_without_probabilities(monkeypatch) -> None:
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    program = exported_step("tpu")
    # Two layers: forwards, then the gradients of queries, and of keys and values.
    assert program.count("tpu_custom_call") >= 6
    assert not has_probabilities(program)
    # With dropout they are explicit: the check can fail.
    assert has_probabilities(exported_step("tpu", None))


@pytest.fixture
def with_cudnn(monkeypatch) -> None:
    """JAX shall believe that it has a GPU, as far as it asks before it compiles."""
    cudnn = pytest.importorskip("jax._src.cudnn.fused_attention_stablehlo")
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(attention, "_cudnn_takes_it", lambda query: True)
    monkeypatch.setattr(cudnn, "check_cudnn_version", lambda: 91000)
    monkeypatch.setattr(cudnn, "check_compute_capability", lambda capability: True)
    monkeypatch.setattr(cudnn, "is_cuda_compute_capability_equal", lambda capability: False)


@pytest.mark.usefixtures("with_cudnn")
def test_a_gpu_trains_with_cudnn_and_without_probabilities() -> None:
    program = exported_step("cuda")
    assert program.count("__cudnn$fmha") >= 4
    assert not has_probabilities(program)


@pytest.mark.usefixtures("with_cudnn")
@pytest.mark.parametrize("ids", [_PACKED, None], ids=["packed", "plain"])
def test_gpus_that_share_a_model_attend_with_their_own_heads(ids) -> None:
    """XLA cannot share out cuDNN's call where another axis of the mesh is shared out by hand."""

    def attend(*arrays):
        return attention.attend(*arrays, scale=_SCALE, key_ids=ids, query_ids=ids)

    arrays = [jax.ShapeDtypeStruct((_ROWS, _LENGTH, _HEADS, _HEAD_DIM), "bfloat16")] * 3
    for devices, heads in ((1, 2), (2, 1)):
        mesh = jax.sharding.AbstractMesh((1, devices), ("batch", "model"))
        with jax.sharding.use_abstract_mesh(mesh):
            program = str(jax.make_jaxpr(attend)(*arrays))
        inner = program[program.index("shard_map") :]
        assert "dot_product_attention_fwd" in inner
        assert f"bf16[{_ROWS},{_LENGTH},{heads},{_HEAD_DIM}]" in inner


def test_what_cudnn_does_not_take_goes_to_xla(monkeypatch) -> None:
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    query = jnp.zeros((2, 8, 2, 16), "bfloat16")
    assert not attention._cudnn_takes_it(query), "a CPU has no compute capability"
    ids = jnp.asarray([[1, 1, 1, 2, 2, 2, 0, 0], [1, 2, 2, 2, 2, 2, 2, 2]])
    found = attention.attend(query, query, query, scale=1.0, key_ids=ids, query_ids=ids)
    assert found.shape == query.shape
