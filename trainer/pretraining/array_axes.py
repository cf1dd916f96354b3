"""Which axis of a weight or of an optimizer's slot is shared by which devices."""

from __future__ import annotations

import math
import re

# How BERT's weights are shared by ``model_parallel`` devices, each working on some attention heads
# and some of the feed-forward units (Shoeybi et al. 2019, section 3). All others are replicated.
# An optimizer's slot of a/b/kernel is called a_b_kernel_momentum.
_LAYOUTS = (
    (r".*(query|key|value)[/_]kernel(_momentum|_velocity)?", (None, "model", None)),
    (r".*(query|key|value)[/_]bias(_momentum|_velocity)?", ("model", None)),
    (r".*attention_output[/_]kernel(_momentum|_velocity)?", ("model", None, None)),
    (r".*feedforward_intermediate_dense[/_]kernel(_momentum|_velocity)?", (None, "model")),
    (r".*feedforward_intermediate_dense[/_]bias(_momentum|_velocity)?", ("model",)),
    (r".*feedforward_output_dense[/_]kernel(_momentum|_velocity)?", ("model", None)),
)
# An optimizer's slots of so many numbers or more are shared by all devices, each of which updates its
# part of the weights (Rajbhandari et al. 2020, stage 1); for smaller ones a message costs more.
_SHARED_SLOT = 1 << 14


def axes_of(name: str, shape: tuple[int, ...], devices: int) -> list[str | None]:
    """The mesh's axis that each axis of an array is split over; ``devices`` share a batch's rows."""
    layout = next((axes for pattern, axes in _LAYOUTS if re.fullmatch(pattern, name)), ())
    axes: list[str | None] = [*layout, *[None] * (len(shape) - len(layout))]
    if name.startswith("optimizer/") and math.prod(shape) >= _SHARED_SLOT:
        whole = [i for i, axis in enumerate(axes) if not axis and shape[i] % devices == 0]
        if whole:
            axes[max(whole, key=shape.__getitem__)] = "batch"
    return axes
