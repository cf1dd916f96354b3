"""The options of ``python -m trainer.pretrain``, and which of them decide the weights."""

from __future__ import annotations

import math
import os
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from pipelines.errors import UserError
from pipelines.mask.config import MaskConfig
from trainer.models.sizes import dimensions_of

_DIMENSIONS = ("num_layers", "num_heads", "hidden_dim", "intermediate_dim")
_MASKING = (
    "mask_selection_rate",
    "mask_selection_length",
    "mask_token_rate",
    "random_token_rate",
    "strategy",
)
# Where things lie, and what is only watched or kept: a run may go on with others.
_NOT_DECIDING = (
    "data",
    "temperature",
    "shard_window",
    "skip_rows",
    "cache_dir",
    "cache_gb",
    "output",
    "initial_run",
    "initial_positions",
    "model",
    *_DIMENSIONS,
    "dropout",
    "max_sequence_length",
    "next_sentence_loss",
    "steps",
    "epochs",
    "warmup_steps",
    *_MASKING,
    "distributed",
    "model_parallel",
    "steps_per_execution",
    "checkpoint_every",
    "keep_checkpoints",
    "eval_every",
    "eval_steps",
    "log_every",
    "peak_tflops",
)


@dataclass(frozen=True, kw_only=True)
class PretrainConfig:
    """Pretrain a BERT with masked language modelling; killed at any moment, the same command goes
    on where it was and gives the same weights.

    SIGTERM and Ctrl-C write a checkpoint first; after SIGTERM the exit status is 75: start again.
    """

    data: tuple[str, ...]
    """Outputs of pipelines.tokenize or pipelines.mask, local or gs://; each may carry its share of
    the batches: DIR=WEIGHT. Without weights all rows are one pool."""

    temperature: float | None = None
    """Instead of weights: every folder's share is rows ** (1 / temperature). 1: by size; more: more
    alike."""

    shard_window: int | None = None
    """Shards whose rows are shuffled together, one such window after the other; default: all. For
    gs:// data larger than the cache, which must hold two windows."""

    skip_rows: str | None = None
    """A file of rows never to train on, one a line, as trainer.explain names them: SHARD RECORD,
    SHARD FIRST-LAST, or SHARD alone for all of it."""

    cache_dir: str | None = None
    """Where shards of gs:// data are kept; default: ~/.cache/bertmill/shards."""

    cache_gb: float = 20.0
    """Most that cache_dir may hold, in 1e9 bytes; the longest unused shards go first."""

    output: str
    """The folder of the run, local or gs://: checkpoints, metrics.jsonl, weights."""

    initial_run: str | None = None
    """Begin with the final weights of another, finished run, for instance one with shorter rows
    (phases: first 128 tokens, then 512); default: random weights."""

    initial_positions: Literal["normal", "sinusoidal"] = "normal"
    """How the learned positions begin: drawn like all other weights (BERT), or as sines and cosines,
    from which a small model may find neighbours sooner (docs/imdb.md); give it 1,000 --warmup_steps."""

    model: str = "bert_tiny"
    """A size: bert_tiny, bert_mini, bert_small, bert_medium, bert_base or bert_large."""

    num_layers: int | None = None
    """Instead of the size's."""

    num_heads: int | None = None
    """Instead of the size's."""

    hidden_dim: int | None = None
    """Instead of the size's."""

    intermediate_dim: int | None = None
    """Instead of the size's."""

    dropout: float = 0.1
    """Of embeddings, attention and feed-forward outputs."""

    max_sequence_length: int | None = None
    """Positions that the model has; default: 512, or the length of the rows if that is more."""

    next_sentence_loss: Literal["auto", "true", "false"] = "auto"
    """Also learn from the label of each row, and train the pooled output by it: rows packed as pairs
    have one. auto: where all of the data has labels. Logged apart: loss stays the masked LM's."""

    steps: int | None = None
    """Training steps; default: as epochs says."""

    epochs: float | None = None
    """Passes over all rows, instead of steps; default: 1."""

    batch_size: int = 32
    """Rows in a step, over all devices."""

    grad_accumulation: int = 1
    """Parts in which the rows of a step are worked through, to save memory (JAX only)."""

    remat: bool = False
    """Keep only the outputs of the layers for the backward pass and compute the rest again: less
    memory, about a third more arithmetic (JAX only)."""

    steps_per_execution: int = 1
    """Steps that go to the device as one call, where nothing is due between them (JAX only); best a
    divisor of log_every, eval_every and checkpoint_every."""

    distributed: bool = False
    """Join the other processes of this run (start the same command in each): on TPU VMs they find
    each other; elsewhere KERAS_DISTRIBUTION_JOB_ADDRESSES, …_NUM_PROCESSES and …_PROCESS_ID say
    where they are. Every process needs the same data and output folders."""

    model_parallel: int = 1
    """Devices that share each row's attention heads and feed-forward units; all others share the
    rows of a batch."""

    learning_rate: float = 1e-4
    """The highest."""

    warmup_steps: int | None = None
    """Steps of linear rise; default: a tenth of all."""

    schedule: Literal["linear", "cosine", "constant"] = "linear"
    """How the learning rate falls after the warm-up."""

    optimizer: Literal["adamw", "lamb"] = "adamw"
    """lamb for batches of thousands of rows."""

    weight_decay: float = 0.01
    """Of kernels and embeddings, not of biases and normalisation."""

    clip_norm: float = 1.0
    """Longest gradient, over all weights; 0: any."""

    dtype: Literal["float32", "mixed_bfloat16"] = "float32"
    """What is computed with; weights are always float32."""

    seed: int = 0
    """Decides initial weights, order, masks and dropout."""

    mask_selection_rate: float = 0.15
    """Share of the tokens of a row to predict."""

    mask_selection_length: int | None = None
    """Most positions to predict in a row; default: what the rate gives for a full row."""

    mask_token_rate: float = 0.8
    """Share of the chosen positions that become [MASK]."""

    random_token_rate: float = 0.1
    """Share of the chosen positions that become a random token; the rest stay as they are."""

    strategy: Literal["token", "whole_word", "span"] = "token"
    """token: single positions; whole_word: all pieces of a word; span: runs of words."""

    checkpoint_every: int = 1000
    """Steps between checkpoints."""

    keep_checkpoints: int = 2
    """How many of the newest are kept."""

    eval_every: int | None = None
    """Steps between validations; default: only at the end."""

    eval_steps: int = 100
    """Most batches of validation rows; 0: all."""

    log_every: int = 100
    """Steps between lines in metrics.jsonl."""

    peak_tflops: float | None = None
    """Of one device, in 1e12 operations a second: what MFU is a share of; default: by the name of
    the device, where it is a known TPU or GPU."""

    def check(self) -> None:
        """Raises UserError for values that cannot work."""
        if not self.data:
            raise UserError("--data: name at least one output folder of pipelines.tokenize")
        if self.steps is not None and self.epochs is not None:
            raise UserError(f"--steps {self.steps} and --epochs {self.epochs:g}: give one of them")
        for name in (
            "steps",
            "batch_size",
            "grad_accumulation",
            "steps_per_execution",
            "model_parallel",
            "checkpoint_every",
            "eval_every",
        ):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"--{name} {value}: must be at least 1")
        for name in (
            "shard_window",
            "keep_checkpoints",
            "log_every",
            *_DIMENSIONS,
            "max_sequence_length",
        ):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"--{name} {value}: must be at least 1")
        for name in ("learning_rate", "epochs", "cache_gb", "peak_tflops"):
            value = getattr(self, name)
            if value is not None and not (value > 0 and math.isfinite(value)):
                raise UserError(f"--{name} {value}: must be a positive number")
        for name in ("weight_decay", "clip_norm", "eval_steps", "warmup_steps"):
            value = getattr(self, name)
            if value is not None and not value >= 0:
                raise UserError(f"--{name} {value}: must not be negative")
        if self.initial_run and self.initial_positions != "normal":
            raise UserError(
                f"--initial_positions {self.initial_positions}: --initial_run brings its own; give "
                "one of them"
            )
        if not 0 <= self.dropout < 1:
            raise UserError(f"--dropout {self.dropout}: must be at least 0 and below 1")
        if not 0 <= self.seed < 1 << 32:
            raise UserError(f"--seed {self.seed}: must be between 0 and 4294967295")
        if self.batch_size % self.grad_accumulation:
            raise UserError(
                f"--grad_accumulation {self.grad_accumulation}: cannot part a batch of "
                f"{self.batch_size} rows evenly"
            )
        dimensions = self.dimensions()
        if dimensions["hidden_dim"] % dimensions["num_heads"]:
            raise UserError(
                f"--hidden_dim {dimensions['hidden_dim']}: cannot be shared evenly by "
                f"{dimensions['num_heads']} heads (--num_heads)"
            )

    def check_backend(self, backend: str) -> None:
        """Raises UserError for what only works on JAX."""
        for name in ("grad_accumulation", "remat", "steps_per_execution"):
            if (value := getattr(self, name)) > 1 or value is True:
                raise UserError(
                    f"--{name} {str(value).lower()}: only on the JAX backend, not {backend}; set "
                    "KERAS_BACKEND=jax or leave it out"
                )

    def check_devices(self, devices: int) -> None:
        """Raises UserError where so many devices cannot share the rows of a batch or the model."""
        parts = devices * self.grad_accumulation
        if self.batch_size % parts:
            accumulated = (
                f" in {self.grad_accumulation} parts" if self.grad_accumulation > 1 else ""
            )
            raise UserError(
                f"--batch_size {self.batch_size}: cannot be shared evenly by {devices} devices"
                f"{accumulated}; give a multiple of {parts}"
            )
        dimensions = self.dimensions()
        for name in ("num_heads", "intermediate_dim"):
            if dimensions[name] % self.model_parallel:
                raise UserError(
                    f"--model_parallel {self.model_parallel}: cannot share {dimensions[name]} "
                    f"({name}) evenly; give a divisor of it"
                )

    def dimensions(self) -> dict[str, int]:
        """num_layers, num_heads, hidden_dim and intermediate_dim of the model."""
        given = {name: getattr(self, name) for name in _DIMENSIONS}
        named: Any = dimensions_of(self.model)
        return {**named, **{name: value for name, value in given.items() if value is not None}}

    def folders(self) -> tuple[list[str], list[float] | None]:
        """The data folders and their weights (None: no weights given)."""
        found = [_split_weight(entry) for entry in self.data]
        weights = [weight for _, weight in found if weight is not None]
        if self.temperature is not None and (weights or len(found) < 2):
            raise UserError(
                f"--temperature {self.temperature:g}: only for several --data folders without weights"
            )
        if weights and len(weights) < len(found):
            raise UserError(f"--data {' '.join(self.data)}: give every folder a weight, or none")
        return [folder for folder, _ in found], weights or None

    def mask_config(self) -> MaskConfig:
        """How rows are masked on the fly."""
        return MaskConfig(seed=self.seed, **{name: getattr(self, name) for name in _MASKING})

    def changed_masking(self) -> list[str]:
        """The masking fields that are not at their defaults."""
        defaults = {field.name: field.default for field in fields(self)}
        return [name for name in _MASKING if getattr(self, name) != defaults[name]]

    def count_steps(self, rows: int) -> int:
        """How many steps to train on so many rows."""
        if self.steps is not None:
            return self.steps
        return math.ceil(rows * (self.epochs or 1.0) / self.batch_size)

    def deciding_fields(self) -> dict[str, Any]:
        """The fields that decide the weights and are what they are without knowing the data."""
        return {n: value for n, value in asdict(self).items() if n not in _NOT_DECIDING}


def _split_weight(entry: str) -> tuple[str, float | None]:
    """``dir=2.5`` -> ("dir", 2.5). A folder whose name holds such an ending is taken as it is."""
    folder, equals, weight = entry.rpartition("=")
    if not equals or os.path.exists(entry):
        return entry, None
    try:
        value = float(weight)
    except ValueError:
        return entry, None
    if not (value > 0 and math.isfinite(value)):
        raise UserError(f"--data {entry}: the weight must be a positive number")
    return folder, value
