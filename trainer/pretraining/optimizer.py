"""The optimizer of a pretraining run and its learning rate. Weight decay spares biases and
normalisation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from trainer.pretraining.muon import MuonForKernels

_SCHEDULES = ("linear", "cosine", "constant")
_NO_DECAY_NAMES = {"bias", "output_bias", "gamma", "beta"}
# BERT's and LAMB's own; Keras' 1e-7 makes early steps larger.
_EPSILON = 1e-6


@keras.saving.register_keras_serializable(package="bertmill")
class WarmupThenDecay(keras.optimizers.schedules.LearningRateSchedule):
    """Rises linearly over ``warmup_steps``, then decays to zero by ``steps``.

    As in BERT (Devlin et al. 2018, appendix A.2) with the schedule ``linear``. A pure function of
    the step, so a resumed run continues where it was.

    Step k = 0, 1, … has rate ``peak * (k + 1) / warmup_steps`` while k < warmup_steps, so the first
    step learns too; afterwards ``peak`` times 1 - x (linear), (1 + cos pi x) / 2 (cosine) or 1
    (constant), where x runs from 0 to 1 over the rest.
    """

    def __init__(self, peak: float, warmup_steps: int, steps: int, schedule: str = "linear"):
        if schedule not in _SCHEDULES:
            raise ValueError(f"schedule {schedule!r}: choose one of {', '.join(_SCHEDULES)}")
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
        names = ("peak", "warmup_steps", "steps", "schedule")
        return {name: getattr(self, name) for name in names}


@keras.saving.register_keras_serializable(package="bertmill")
class PaperLamb(keras.optimizers.Lamb):
    """LAMB as in its paper: layer-wise adaptive moments for very large batches.

    You et al. 2019, "Large Batch Optimization for Deep Learning", algorithm 2. Unlike Keras' own
    Lamb, weight decay is part of the update that the trust ratio scales, and variables without
    weight decay (biases, normalisation) are updated without a trust ratio, as in the authors' BERT
    runs.
    """

    def _apply_weight_decay(self, variables: Any) -> None:
        """Nothing: ``update_step`` decays."""

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """One update of one variable."""
        index = self._get_variable_index(variable)
        mean, square = self._momentums[index], self._velocities[index]
        gradient = ops.cast(gradient, variable.dtype)
        rate = ops.cast(learning_rate, variable.dtype)
        number = ops.cast(self.iterations + 1, variable.dtype)
        self.assign_add(mean, (gradient - mean) * (1 - self.beta_1))
        self.assign_add(square, (ops.square(gradient) - square) * (1 - self.beta_2))
        corrected_mean = mean / (1 - ops.power(ops.cast(self.beta_1, variable.dtype), number))
        corrected_square = square / (1 - ops.power(ops.cast(self.beta_2, variable.dtype), number))
        update = corrected_mean / (ops.sqrt(corrected_square) + self.epsilon)
        if self.weight_decay and self._use_weight_decay(variable):
            update = update + self.weight_decay * variable
            weight_norm = ops.sqrt(ops.sum(ops.square(variable)))
            update_norm = ops.sqrt(ops.sum(ops.square(update)))
            positive = ops.logical_and(weight_norm > 0, update_norm > 0)
            divisor = ops.where(positive, update_norm, ops.ones_like(update_norm))
            update = ops.where(positive, weight_norm / divisor, 1.0) * update
        self.assign_sub(variable, rate * update)


def build_optimizer(
    name: str,
    variables: Sequence[Any],
    *,
    schedule: WarmupThenDecay,
    weight_decay: float,
    clip_norm: float,
    compute_dtype: str = "float32",
) -> keras.optimizers.Optimizer:
    """Builds ``adamw``, ``lamb`` or ``muon`` over the variables. With ``clip_norm`` 0 nothing is
    clipped; ``compute_dtype``: of the model's layers, which Muon's products have too."""
    options: dict[str, Any] = {
        "learning_rate": schedule,
        "weight_decay": weight_decay,
        "epsilon": _EPSILON,
        "global_clipnorm": clip_norm or None,
        "name": name,
    }
    optimizer: keras.optimizers.Optimizer
    if name == "muon":
        optimizer = MuonForKernels(
            **options, adam_weight_decay=weight_decay, orthogonalize_dtype=compute_dtype
        )
    else:
        optimizer_class = {"adamw": keras.optimizers.AdamW, "lamb": PaperLamb}[name]
        optimizer = optimizer_class(**options, beta_1=0.9, beta_2=0.999)
    optimizer.exclude_from_weight_decay(var_list=[v for v in variables if not is_decayed(v)])
    optimizer.build(list(variables))
    return optimizer


def is_decayed(variable: Any) -> bool:
    """True for kernels and embedding tables."""
    return variable.name not in _NO_DECAY_NAMES
