"""The learning rate of each step: linear warm-up, then decay to zero by the last step.

As in BERT (Devlin et al. 2018, appendix A.2) with the schedule ``linear``. A pure function of the
step, so a resumed run goes on where it was.
"""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

SCHEDULES = ("linear", "cosine", "constant")


@keras.saving.register_keras_serializable(package="bertmill")
class WarmupThenDecay(keras.optimizers.schedules.LearningRateSchedule):
    """Rises linearly over ``warmup_steps``, then decays until ``steps``.

    Step k = 0, 1, … has rate ``peak * (k + 1) / warmup_steps`` while k < warmup_steps, so the first
    step learns too; afterwards ``peak`` times 1 - x (linear), (1 + cos pi x) / 2 (cosine) or 1
    (constant), where x runs from 0 to 1 over the rest.
    """

    def __init__(self, peak: float, warmup_steps: int, steps: int, schedule: str = "linear"):
        if schedule not in SCHEDULES:
            raise ValueError(f"schedule {schedule!r}: choose one of {', '.join(SCHEDULES)}")
        self.peak, self.warmup_steps, self.steps = peak, warmup_steps, steps
        self.schedule = schedule

    def __call__(self, step: Any) -> Any:
        step = ops.cast(step, "float32")
        warm = (step + 1) / max(1, self.warmup_steps)
        rest = max(1, self.steps - self.warmup_steps)
        x = ops.clip((step - self.warmup_steps) / rest, 0.0, 1.0)
        if self.schedule == "linear":
            decay = 1 - x
        elif self.schedule == "cosine":
            decay = (1 + ops.cos(math.pi * x)) / 2
        else:
            decay = ops.ones_like(x)
        return self.peak * ops.where(step < self.warmup_steps, warm, decay)

    def get_config(self) -> dict[str, Any]:
        return {
            "peak": self.peak,
            "warmup_steps": self.warmup_steps,
            "steps": self.steps,
            "schedule": self.schedule,
        }
