"""The floating-point operations of a training step, and the share of a device's peak (MFU).

Counts the work that the loss depends on, by the model's dimensions, not what a program does: two
operations for each multiply-add of a matrix product, and the backward pass as twice the forward pass
(Chowdhery et al. 2022, "PaLM", appendix B). So recomputed work counts once, and the last layer counts
only where something is predicted from it: its keys and values everywhere, the rest at the masked
positions. Rows count at their full length, attention between all positions. Lookups, normalisation,
activations, the optimizer and softmax are left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Peak TFLOP/s of one JAX device in dense bfloat16 (float16 where there is no bfloat16), as the
# makers' data sheets give them: cloud.google.com/tpu/docs (v2 and v3 have two devices a chip)
# and NVIDIA's data sheets, without sparsity. The first name counts that device_kind equals, or begins
# with before a space or a dash.
_PEAK_TFLOPS = (
    ("TPU v2", 22.5),
    ("TPU v3", 61.5),
    ("TPU v4 lite", 138.0),
    ("TPU v4", 275.0),
    ("TPU v5 lite", 197.0),
    ("TPU v5e", 197.0),
    ("TPU v5p", 459.0),
    ("TPU v5", 459.0),
    ("TPU v6e", 918.0),
    ("TPU v6 lite", 918.0),
    ("NVIDIA H100 PCIe", 756.0),
    ("NVIDIA H100 NVL", 835.0),
    ("NVIDIA H100", 989.0),
    ("NVIDIA H200", 989.0),
    ("NVIDIA B200", 2250.0),
    ("NVIDIA A100", 312.0),
    ("Tesla V100", 125.0),
    ("Tesla T4", 65.0),
    ("NVIDIA L4", 121.0),
    ("NVIDIA L40S", 362.0),
)


def forward_flops(
    dimensions: Mapping[str, Any], seq_length: int, masks: int, *, pooled: bool = False
) -> int:
    """Floating-point operations of the forward pass over one row.

    Args:
        dimensions: ``BertBackbone``'s num_layers, hidden_dim, intermediate_dim, vocabulary_size.
        seq_length: positions of the row; masks: places to predict in it.
        pooled: the row's first position is used too, for a prediction about the whole row.
    """
    hidden, inner = dimensions["hidden_dim"], dimensions["intermediate_dim"]
    needed = min(seq_length, masks + pooled)

    def layer(outputs: int) -> int:
        keys_and_values = 2 * seq_length * hidden * hidden
        queries_and_outputs = 2 * outputs * hidden * hidden
        attention = 2 * outputs * seq_length * hidden
        feed_forward = 2 * outputs * hidden * inner
        return keys_and_values + queries_and_outputs + attention + feed_forward

    encoder = (dimensions["num_layers"] - 1) * layer(seq_length) + layer(needed)
    head = masks * hidden * (hidden + dimensions["vocabulary_size"])
    pooler = hidden * (hidden + 2) if pooled else 0
    return 2 * (encoder + head + pooler)


def training_flops(
    dimensions: Mapping[str, Any], seq_length: int, masks: int, *, pooled: bool = False
) -> int:
    """Floating-point operations of training on one row: forward and backward pass."""
    return 3 * forward_flops(dimensions, seq_length, masks, pooled=pooled)


def peak_tflops(device_kind: str) -> float | None:
    """The peak of one device by the name that JAX gives it; None where it is not in the table.

    CPUs are not in it: their makers publish no such figure.
    """
    for name, peak in _PEAK_TFLOPS:
        if device_kind == name or device_kind.startswith((f"{name} ", f"{name}-")):
            return peak
    return None


def utilization(rows_per_second: float, flops_per_row: int, peak: float | None) -> dict[str, float]:
    """``tflops``: operations done a second / 1e12; ``mfu``: their share of ``peak`` (in TFLOP/s too),
    if that is known."""
    tflops = rows_per_second * flops_per_row / 1e12
    figures = {"tflops": float(f"{tflops:.4g}")}
    if peak:
        figures["mfu"] = float(f"{tflops / peak:.4g}")
    return figures
