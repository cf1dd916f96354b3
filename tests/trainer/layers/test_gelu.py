"""In bfloat16, GELUs and their gradients are those of float32, rounded once."""

from __future__ import annotations

import os

import numpy as np
import pytest

os.environ.setdefault("KERAS_BACKEND", "jax")

keras = pytest.importorskip("keras")
if keras.config.backend() != "jax":
    pytest.skip("needs the JAX backend", allow_module_level=True)

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402

from trainer.layers.gelu import gelu_approximate, gelu_exact, gelu_sharp  # noqa: E402

_GELUS = (gelu_approximate, gelu_exact, gelu_sharp)


@pytest.mark.parametrize("gelu", _GELUS)
def test_bfloat16_is_float32_rounded_once(gelu):
    x = jnp.concatenate([jnp.linspace(-8, 8, 4001), jnp.array([0.0, 1e-3, -1e-3])])
    x = x.astype(jnp.bfloat16)
    upper = jnp.linspace(-2, 2, len(x)).astype(jnp.bfloat16)

    def both(x, upper):
        value, pull_back = jax.vjp(gelu, x)
        return value, pull_back(upper)[0]

    found = jax.jit(both)(x, upper)
    expected = jax.jit(both)(x.astype(jnp.float32), upper.astype(jnp.float32))
    for ours, exact in zip(found, expected, strict=True):
        assert ours.dtype == jnp.bfloat16
        # Half a unit in the last of eight places, and where functions vanish, float32's own error.
        np.testing.assert_allclose(ours.astype(jnp.float32), exact, rtol=2.0**-8, atol=1e-5)


@pytest.mark.parametrize("device", ["cpu", "gpu", "tpu"])
@pytest.mark.parametrize("gelu", _GELUS)
def test_nothing_but_the_input_is_kept_for_the_gradient(gelu, device, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: device)
    x = jnp.ones((4, 8), jnp.bfloat16)
    _, pull_back = jax.vjp(gelu, x)
    assert [kept.shape for kept in jax.tree.leaves(pull_back) if kept.size > 1] == [x.shape]
