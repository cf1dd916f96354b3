"""Which values of the options of ``trainer.pretrain`` cannot work, whatever the data is."""

from __future__ import annotations

import math

from pipelines.errors import UserError
from trainer.pretraining.config import DIMENSIONS, PretrainConfig

_AT_LEAST_ONE = (
    "steps",
    "batch_size",
    "grad_accumulation",
    "steps_per_execution",
    "model_parallel",
    "checkpoint_every",
    "eval_every",
    "shard_window",
    "keep_checkpoints",
    "log_every",
    *DIMENSIONS,
    "max_sequence_length",
)
_POSITIVE = ("learning_rate", "epochs", "cache_gb", "peak_tflops")
_NOT_NEGATIVE = ("weight_decay", "clip_norm", "eval_steps", "warmup_steps")
_ONLY_ON_JAX = ("grad_accumulation", "remat", "steps_per_execution")


def check_config(config: PretrainConfig) -> None:
    """Raises UserError for values that cannot work."""
    if not config.data:
        raise UserError("--data: name at least one output folder of pipelines.tokenize")
    if config.steps is not None and config.epochs is not None:
        raise UserError(f"--steps {config.steps} and --epochs {config.epochs:g}: give one of them")
    for names, is_possible, rule in (
        (_AT_LEAST_ONE, lambda value: value >= 1, "must be at least 1"),
        (_POSITIVE, lambda value: 0 < value < math.inf, "must be a positive number"),
        (_NOT_NEGATIVE, lambda value: value >= 0, "must not be negative"),
        (
            ["dropout", "attention_dropout"],
            lambda value: 0 <= value < 1,
            "must be at least 0 and below 1",
        ),
        (["seed"], lambda value: 0 <= value < 1 << 32, "must be between 0 and 4294967295"),
    ):
        for name in names:
            value = getattr(config, name)
            if value is not None and not is_possible(value):
                raise UserError(f"--{name} {value}: {rule}")
    if config.initial_run and config.initial_positions != "normal":
        raise UserError(
            f"--initial_positions {config.initial_positions}: --initial_run brings its own; give "
            "one of them"
        )
    if config.batch_size % config.grad_accumulation:
        raise UserError(
            f"--grad_accumulation {config.grad_accumulation}: cannot part a batch of "
            f"{config.batch_size} rows evenly"
        )
    dimensions = config.dimensions()
    if dimensions["hidden_dim"] % dimensions["num_heads"]:
        raise UserError(
            f"--hidden_dim {dimensions['hidden_dim']}: cannot be shared evenly by "
            f"{dimensions['num_heads']} heads (--num_heads)"
        )


def check_backend(config: PretrainConfig, backend: str) -> None:
    """Raises UserError for what only works on JAX, if this is another backend."""
    for name in _ONLY_ON_JAX if backend != "jax" else ():
        if (value := getattr(config, name)) > 1 or value is True:
            raise UserError(
                f"--{name} {str(value).lower()}: only on the JAX backend, not {backend}; set "
                "KERAS_BACKEND=jax or leave it out"
            )


def check_devices(config: PretrainConfig, devices: int) -> None:
    """Raises UserError where so many devices cannot share the rows of a batch or the model."""
    parts = devices * config.grad_accumulation
    if config.batch_size % parts:
        accumulated = (
            f" in {config.grad_accumulation} parts" if config.grad_accumulation > 1 else ""
        )
        raise UserError(
            f"--batch_size {config.batch_size}: cannot be shared evenly by {devices} devices"
            f"{accumulated}; give a multiple of {parts}"
        )
    dimensions = config.dimensions()
    for name in ("num_heads", "intermediate_dim"):
        if dimensions[name] % config.model_parallel:
            raise UserError(
                f"--model_parallel {config.model_parallel}: cannot share {dimensions[name]} "
                f"({name}) evenly; give a divisor of it"
            )
