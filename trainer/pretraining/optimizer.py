"""The optimizer of a pretraining run. Weight decay spares biases and normalisation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from trainer.pretraining.lamb import PaperLamb
from trainer.pretraining.schedule import WarmupThenDecay

OPTIMIZERS = ("adamw", "lamb")
_NO_DECAY_NAMES = {"bias", "output_bias", "gamma", "beta"}
# BERT's and LAMB's own; Keras' 1e-7 makes early steps larger.
_EPSILON = 1e-6


def build_optimizer(
    name: str,
    variables: Sequence[Any],
    *,
    schedule: WarmupThenDecay,
    weight_decay: float,
    clip_norm: float,
) -> keras.optimizers.Optimizer:
    """Builds ``adamw`` or ``lamb`` over the variables. With ``clip_norm`` 0 nothing is clipped."""
    optimizer_class = {"adamw": keras.optimizers.AdamW, "lamb": PaperLamb}[name]
    optimizer = optimizer_class(
        learning_rate=schedule,
        weight_decay=weight_decay,
        beta_1=0.9,
        beta_2=0.999,
        epsilon=_EPSILON,
        global_clipnorm=clip_norm or None,
        name=name,
    )
    optimizer.exclude_from_weight_decay(var_list=[v for v in variables if not is_decayed(v)])
    optimizer.build(list(variables))
    return optimizer


def is_decayed(variable: Any) -> bool:
    """True for kernels and embedding tables."""
    return variable.name not in _NO_DECAY_NAMES
