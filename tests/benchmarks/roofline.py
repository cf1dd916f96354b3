"""What bounds a training step on an accelerator, on paper: ``python -m tests.benchmarks.roofline``.

Products take at least their time at the device's peak; what a step moves to and from the device's memory
takes its time too, most of it in kernels of its own before and after the products; with several devices
the sum of gradients over the links between them can run beside the backward pass. Products are counted
by ``trainer.pretraining.flops``. Moved are, in bfloat16, ``_ARRAYS`` arrays of [tokens, hidden] a layer,
forward and backward, the logits of the masked positions once, and of each parameter 28 bytes: its
gradient, weight and two moments in float32, all but the first read and written. Gradients are summed in
float32 around a ring.
"""

from __future__ import annotations

from dataclasses import dataclass

from tabulate import tabulate

from trainer.models.sizes import dimensions_of
from trainer.pretraining.flops import peak_tflops, training_flops

_WORDS = 30_522
_SIZES = ("bert_tiny", "bert_small", "bert_base", "bert_large")
# Of a layer: inputs and outputs of each product once, with 4 × hidden in the middle counted as four;
# residuals, dropout and normalisation merged into the products beside them.
_ARRAYS = 60


@dataclass(frozen=True)
class Device:
    """``memory`` and ``links``: bytes a second to its memory, and to its neighbours one way."""

    name: str
    memory: float
    links: float

    @property
    def flops(self) -> float:
        return 1e12 * (peak_tflops(self.name) or 0)


# As the makers' data sheets give them: NVLink 4 has 450 GB/s each way, ICI 1,600 and 4,800 Gb/s a chip.
_DEVICES = (
    Device("NVIDIA H100", 3.35e12, 450e9),
    Device("TPU v5e", 0.82e12, 100e9),
    Device("TPU v5p", 2.77e12, 300e9),
)


def parameters(sizes: dict[str, int]) -> int:
    """Weights of the encoder, its tables and the masked-LM head."""
    hidden, inner = sizes["hidden_dim"], sizes["intermediate_dim"]
    layer = 4 * hidden * (hidden + 1) + hidden * inner * 2 + inner + 5 * hidden
    return sizes["num_layers"] * layer + (_WORDS + 514) * hidden + hidden * hidden + _WORDS


def describe(size: str, length: int, device: Device) -> list[str]:
    """The line of the table: times for 65,536 tokens, their bound, and rows that hide the sum."""
    sizes = dimensions_of(size)
    rows, masks = 65_536 // length, -(-15 * length // 100)
    flops = training_flops({**sizes, "vocabulary_size": _WORDS}, length, masks)
    weights = parameters(sizes)
    moved = _ARRAYS * sizes["num_layers"] * rows * length * sizes["hidden_dim"] * 2
    moved += rows * masks * _WORDS * 4 + 28 * weights
    products, memory = rows * flops / device.flops, moved / device.memory
    summed = 2 * 4 * weights / device.links
    bound = "products" if products > memory else "memory"
    hidden_from = summed / (products + memory) * rows * 3 / 2  # beside the backward pass
    return [
        size,
        f"{length}",
        device.name,
        f"{1e3 * products:.1f}",
        f"{1e3 * memory:.1f}",
        bound,
        f"{100 * products / (products + memory):.0f} %",
        f"{1e3 * summed:.2f}",
        f"{hidden_from:,.0f}",
    ]


def main() -> None:
    """Prints the table."""
    head = [
        "model",
        "rows of",
        "device",
        "products, ms",
        "memory, ms",
        "the larger",
        "MFU one after the other",
    ]
    head += ["sum of gradients, ms", "rows a device that hide it"]
    lines = [describe(size, n, d) for size in _SIZES for n in (128, 512) for d in _DEVICES]
    print(tabulate(lines, head, tablefmt="github", disable_numparse=True))


if __name__ == "__main__":
    main()
