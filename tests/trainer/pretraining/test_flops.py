"""The arithmetic of a training step: by hand, against what XLA counts, and its share of a peak."""

from __future__ import annotations

import os

import numpy as np
import pytest

from trainer.pretraining.flops import forward_flops, peak_tflops, training_flops, utilization

TINY = {"num_layers": 2, "hidden_dim": 4, "intermediate_dim": 16, "vocabulary_size": 100}


def test_a_row_by_hand():
    # Layer 1, 8 positions: query, key, value, output 4·8·4·4 = 512; scores and their use
    # 2·8·8·4 = 512; feed-forward 2·8·4·16 = 1,024. Layer 2: keys, values 2·8·4·4 = 256; then for
    # 3 positions query and output 96, attention 2·3·8·4 = 192, feed-forward 2·3·4·16 = 384.
    # Head: 3·(4·4 + 4·100) = 1,248. In all 4,224 multiply-adds.
    assert forward_flops(TINY, seq_length=8, masks=3) == 2 * 4224
    assert training_flops(TINY, seq_length=8, masks=3) == 6 * 4224
    # A pooled row also needs its first position: 2·4·4 + 2·8·4 + 2·4·16 = 224 more in layer 2, and
    # the pooler 4·4 + 4·2.
    assert forward_flops(TINY, seq_length=8, masks=3, pooled=True) == 2 * (4224 + 224 + 24)


def test_it_is_near_what_the_compiler_counts():
    os.environ.setdefault("KERAS_BACKEND", "jax")
    import jax
    import jax.numpy as jnp

    dimensions = {
        "num_layers": 1,
        "hidden_dim": 64,
        "intermediate_dim": 256,
        "vocabulary_size": 512,
    }
    length, masks = 32, 8
    hidden, inner = dimensions["hidden_dim"], dimensions["intermediate_dim"]

    def products(x, q, k, v, o, up, down, dense, table):
        y = ((x[:masks] @ q) @ (x @ k).T) @ (x @ v) @ o
        return (y @ up @ down @ dense) @ table

    square = (hidden, hidden)
    shapes = [(length, hidden), *[square] * 4, (hidden, inner), (inner, hidden), square]
    shapes.append((hidden, dimensions["vocabulary_size"]))
    arrays = [jnp.asarray(np.zeros(shape, np.float32)) for shape in shapes]
    counted = jax.jit(products).lower(*arrays).compile().cost_analysis()["flops"]
    assert forward_flops(dimensions, length, masks) == pytest.approx(counted, rel=0.01)


def test_peaks_by_name():
    assert peak_tflops("TPU v4") == 275
    assert peak_tflops("TPU v5 lite") == 197
    assert peak_tflops("TPU v5p") == peak_tflops("TPU v5") == 459
    assert peak_tflops("TPU v6 lite") == 918
    assert peak_tflops("NVIDIA H100 80GB HBM3") == 989
    assert peak_tflops("NVIDIA H100 PCIe") == 756
    assert peak_tflops("NVIDIA A100-SXM4-40GB") == 312
    assert peak_tflops("NVIDIA L40S") == 362
    assert peak_tflops("cpu") is None
    assert peak_tflops("TPU v50") is None


def test_use_is_a_share_where_the_peak_is_known():
    assert utilization(1000.0, 2 * 10**9, 20.0) == {"tflops": 2.0, "mfu": 0.1}
    assert utilization(1000.0, 2 * 10**9, None) == {"tflops": 2.0}
