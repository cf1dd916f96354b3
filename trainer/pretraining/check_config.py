"""Which values of the options of ``trainer.pretrain`` cannot work: ever, or with this data, backend
or number of devices."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pipelines.errors import UserError
from pipelines.mask.config import MaskConfig
from trainer.data.dataset import Dataset
from trainer.layers.head_size import head_size
from trainer.models.sizes import count_weights
from trainer.pretraining.config import PretrainConfig

# A rule in words and as a function, and the options that it is for.
_RULES: tuple[tuple[str, Callable[[float], bool], str], ...] = (
    (
        "must be at least 1",
        lambda value: value >= 1,
        "steps batch_size grad_accumulation steps_per_execution model_parallel shard_window "
        "log_every eval_every checkpoint_every keep_checkpoints max_sequence_length "
        "num_layers num_heads hidden_dim intermediate_dim",
    ),
    (
        "must be a positive number",
        lambda value: 0 < value < math.inf,
        "learning_rate epochs cache_gb peak_tflops",
    ),
    (
        "must not be negative",
        lambda value: value >= 0,
        "weight_decay clip_norm eval_steps warmup_steps",
    ),
    (
        "must be at least 0 and below 1",
        lambda value: 0 <= value < 1,
        "dropout attention_dropout",
    ),
    ("must be 0 or more than 1", lambda value: value == 0 or value > 1, "skip_norm"),
    ("must be between 0 and 4294967295", lambda value: 0 <= value < 1 << 32, "seed"),
)
_ONLY_ON_JAX = ("grad_accumulation", "remat", "steps_per_execution", "skip_norm")


def check_config(config: PretrainConfig) -> None:
    """Raises UserError for values that cannot work."""
    if not config.data:
        raise UserError("--data: name at least one output folder of pipelines.tokenize")
    if config.steps is not None and config.epochs is not None:
        raise UserError(f"--steps {config.steps} and --epochs {config.epochs:g}: give one of them")
    for rule, is_possible, names in _RULES:
        for name in names.split():
            value = getattr(config, name)
            if value is not None and not is_possible(value):
                raise UserError(f"--{name} {value}: {rule}")
    initial = [name for name in ("initial_run", "initial_preset") if getattr(config, name)]
    if len(initial) > 1:
        raise UserError(
            f"--initial_run {config.initial_run} and --initial_preset {config.initial_preset}: a run "
            "begins with one model; give one of them"
        )
    if initial and config.initial_positions != "normal":
        raise UserError(
            f"--initial_positions {config.initial_positions}: --{initial[0]} brings its own; give "
            "one of them"
        )
    if config.batch_size % (config.grad_accumulation or 1):
        raise UserError(
            f"--grad_accumulation {config.grad_accumulation}: cannot split a batch of "
            f"{config.batch_size} rows evenly"
        )
    dimensions = config.dimensions()
    count = count_weights(dimensions)
    if 4 * count > config.model_parallel * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"):
        raise UserError(
            f"--hidden_dim {dimensions['hidden_dim']} --num_layers {dimensions['num_layers']}: "
            f"{count:,} weights or more, for which this machine has too little memory; give less"
        )
    head_size(dimensions["hidden_dim"], dimensions["num_heads"])


def check_backend(config: PretrainConfig, backend: str) -> None:
    """Raises UserError for what only works on JAX, if this is another backend."""
    for name in _ONLY_ON_JAX if backend != "jax" else ():
        if (value := getattr(config, name) or 0) > 1 or value is True:
            raise UserError(
                f"--{name} {str(value).lower()}: only on the JAX backend, not {backend}; set "
                "KERAS_BACKEND=jax or leave it out"
            )


def check_devices(config: PretrainConfig, dimensions: Mapping[str, Any], devices: int) -> None:
    """Raises UserError where so many devices cannot share the rows of a batch or the model."""
    accumulation = config.grad_accumulation or 1
    parts = devices * accumulation
    if config.batch_size % parts:
        accumulated = f" in {accumulation} parts" if accumulation > 1 else ""
        raise UserError(
            f"--batch_size {config.batch_size}: cannot be shared evenly by {devices} devices"
            f"{accumulated}; give a multiple of {parts}"
        )
    for name in ("num_heads", "intermediate_dim"):
        if dimensions[name] % config.model_parallel:
            raise UserError(
                f"--model_parallel {config.model_parallel}: cannot share {dimensions[name]} "
                f"({name}) evenly; give a divisor of it"
            )


def check_data(config: PretrainConfig, datasets: Sequence[Dataset]) -> None:
    """Raises UserError where data, masking and model do not fit together."""
    vocabulary, seq_length = datasets[0].vocabulary, datasets[0].seq_length
    positions = config.max_sequence_length
    if positions is not None and positions < seq_length:
        raise UserError(
            f"--max_sequence_length {positions}: the rows in {datasets[0].folder} have "
            f"{seq_length} tokens; give at least that, or tokenize with --seq_length {positions}"
        )
    config.check_masking(
        vocabulary_size=vocabulary.size, mask_token_id=vocabulary.mask_id, seq_length=seq_length
    )
    masked = [dataset.folder for dataset in datasets if dataset.is_masked]
    usual = MaskConfig(seed=config.seed).masking()
    changed = [name for name, value in config.masking().items() if value != usual[name]]
    if masked and changed:
        raise UserError(
            f"--{changed[0]}: the examples in {masked[0]} are masked already; leave it out, or "
            "give the rows that they were made from"
        )


def learns_next_sentence(config: PretrainConfig, datasets: Sequence[Dataset]) -> bool:
    """Whether to train the next-sentence head. Raises UserError where data lacks labels."""
    without = [dataset.folder for dataset in datasets if not dataset.has_labels]
    if without and config.next_sentence_loss == "true":
        raise UserError(
            f"--next_sentence_loss true: the rows in {without[0]} have no labels; make them with "
            "pipelines.tokenize --packing pairs, or leave it out"
        )
    return not without and config.next_sentence_loss != "false"
