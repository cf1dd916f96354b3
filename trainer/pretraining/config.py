"""The options of ``python -m trainer.pretrain``: what each does, and which of them decide a run."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from typing import Any, Literal

from pipelines.errors import UserError
from pipelines.mask.config import MaskConfig
from pipelines.options import CHOOSE, option
from trainer.models.sizes import dimensions_of

DIMENSIONS = ("num_layers", "num_heads", "hidden_dim", "intermediate_dim")
_ORDER = "data and its order"
_MODEL = "model"
_OPTIMIZER = "optimizer"
_DEVICES = "devices, speed and memory"
_LOGS = "logs, validation and checkpoints"


def _apart(default: Any, group: str, metavar: str | None = None) -> Any:
    """An option that does not decide a run by its value alone: it only says what is watched or kept,
    or ``PretrainPlan.deciding`` holds what becomes of it together with the data."""
    return option(default, group=group, decides=False, metavar=metavar)


@dataclass(frozen=True, kw_only=True)
class PretrainConfig(MaskConfig):
    """Pretrain a BERT with masked language modelling; killed at any moment, the same command goes
    on where it was and gives the same weights.

    SIGTERM and Ctrl-C write a checkpoint first; after SIGTERM the exit status is 75: start again.

    Example: --data runs/rows --output runs/bert --model bert_mini --epochs 10 --learning_rate 1e-3
    """

    data: tuple[str, ...] = option(group=CHOOSE, decides=False, metavar="DIR")
    """Outputs of pipelines.tokenize or pipelines.mask, local or gs://; each may carry its share of
    the batches: DIR=WEIGHT. Without weights all rows are one pool."""

    output: str = option(group=CHOOSE, decides=False, metavar="DIR")
    """The folder of the run, local or gs://: checkpoints, metrics.jsonl, weights, report.html."""

    model: str = _apart("bert_tiny", CHOOSE)
    """A size: bert_tiny, bert_mini, bert_small, bert_medium, bert_base or bert_large. A larger one
    learns more from each row and takes longer for it."""

    steps: int | None = _apart(None, CHOOSE)
    """Training steps; default: as many as --epochs says. More is better for long."""

    epochs: float | None = _apart(None, CHOOSE)
    """Passes over all rows, instead of --steps; default: 1. Every pass has fresh masks."""

    batch_size: int = option(32, group=CHOOSE)
    """Rows in a step, over all devices. BERT took 256; give what memory holds, and for more than
    that --grad_accumulation."""

    learning_rate: float = option(1e-4, group=CHOOSE)
    """The highest rate of the schedule, reached after the warm-up. bert_tiny takes 1e-3 to 2e-3,
    bert_base 1e-4; lower it if the loss leaps or the run diverges."""

    dtype: Literal["float32", "mixed_bfloat16"] = option("float32", group=CHOOSE)
    """What is computed with. mixed_bfloat16 is faster on TPUs, GPUs and CPUs with AMX; weights are
    float32 all the same."""

    eval_every: int | None = _apart(None, CHOOSE)
    """Steps between validations; default: only one, at the end."""

    seed: int = option(0, group=CHOOSE)
    """Decides initial weights, order, masks and dropout. Give others to see how much is chance."""

    temperature: float | None = _apart(None, _ORDER)
    """Instead of weights, the share of each folder is rows ** (1 / temperature). 1: by size; more:
    small ones more often than their size says, for instance rare languages."""

    shard_window: int | None = _apart(None, _ORDER)
    """Shards whose rows are shuffled together, one such window after the other; default: all. For
    gs:// data larger than the cache, which must hold two windows."""

    skip_rows: str | None = _apart(None, _ORDER, "FILE")
    """A file of rows never to train on, one a line, as trainer.explain names them: SHARD RECORD,
    SHARD FIRST-LAST, or SHARD alone for all of it."""

    cache_dir: str | None = _apart(None, _ORDER, "DIR")
    """Where shards of gs:// data are kept; default: ~/.cache/bertmill/shards."""

    cache_gb: float = _apart(20.0, _ORDER)
    """Most that --cache_dir may hold, in 1e9 bytes; the longest unused shards go first."""

    initial_run: str | None = _apart(None, _MODEL, "DIR")
    """Begin with the final weights of another, finished run, for instance one with shorter rows
    (phases: first 128 tokens, then 512); default: random weights."""

    initial_positions: Literal["normal", "sinusoidal"] = _apart("normal", _MODEL)
    """How the learned positions begin: drawn like all other weights (BERT), or as sines and cosines,
    from which a small model may find neighbours sooner (docs/imdb.md); give it 1,000 --warmup_steps."""

    num_layers: int | None = _apart(None, _MODEL)
    """Transformer layers; default: those of the size in --model."""

    num_heads: int | None = _apart(None, _MODEL)
    """Attention heads of a layer, which share --hidden_dim evenly; default: the size's."""

    hidden_dim: int | None = _apart(None, _MODEL)
    """Numbers that represent a token between layers; default: the size's."""

    intermediate_dim: int | None = _apart(None, _MODEL)
    """Units of a feed-forward layer; default: the size's. Usually four times --hidden_dim."""

    dropout: float = _apart(0.1, _MODEL)
    """Share of embeddings, attention and feed-forward outputs that each step sets to 0. Give 0 where
    no row is seen more than a few times."""

    attention_dropout: float | None = _apart(None, _MODEL)
    """The same of attention alone; default: as --dropout. Give 0 on TPUs and GPUs: only then does
    training use their fused attention kernels."""

    max_sequence_length: int | None = _apart(None, _MODEL)
    """Tokens in the longest row that the model can take; default: 512, or the length of the rows if
    that is more."""

    next_sentence_loss: Literal["auto", "true", "false"] = _apart("auto", _MODEL)
    """Also learn from the label of each row, and train the pooled output by it: rows packed as pairs
    have one. auto: where all of the data has labels. Logged apart: loss stays the masked LM's."""

    optimizer: Literal["adamw", "lamb"] = option("adamw", group=_OPTIMIZER)
    """adamw, or lamb for batches of thousands of rows."""

    warmup_steps: int | None = _apart(None, _OPTIMIZER)
    """Steps in which the learning rate rises linearly; default: a tenth of all. Give more if the loss
    leaps early."""

    schedule: Literal["linear", "cosine", "constant"] = option("linear", group=_OPTIMIZER)
    """How the learning rate falls after the warm-up, to 0 at the last step unless constant."""

    weight_decay: float = option(0.01, group=_OPTIMIZER)
    """What each step takes off kernels and embeddings, as a share of them times the learning rate;
    biases and normalisation are spared."""

    clip_norm: float = option(1.0, group=_OPTIMIZER)
    """A gradient that is longer than this, over all weights, is shortened to it; 0: any length."""

    grad_accumulation: int = option(1, group=_DEVICES)
    """Parts in which the rows of a step are worked through, to save memory (JAX only)."""

    remat: bool = option(False, group=_DEVICES)
    """Keep only the outputs of the layers for the backward pass and compute the rest again: less
    memory, about a third more arithmetic (JAX only)."""

    steps_per_execution: int = _apart(1, _DEVICES)
    """Steps that go to the device as one call, where nothing is due between them (JAX only); best a
    divisor of log_every, eval_every and checkpoint_every. Helps where a step takes milliseconds."""

    distributed: bool = _apart(False, _DEVICES)
    """Join the other processes of this run (start the same command in each): on TPU VMs they find
    each other; elsewhere KERAS_DISTRIBUTION_JOB_ADDRESSES, …_NUM_PROCESSES and …_PROCESS_ID say
    where they are. Every process needs the same data and output folders."""

    model_parallel: int = _apart(1, _DEVICES)
    """Devices that share each row's attention heads and feed-forward units; all others share the
    rows of a batch. For models that one device cannot hold."""

    peak_tflops: float | None = _apart(None, _DEVICES)
    """Of one device, in 1e12 operations a second: what MFU is a share of; default: by the name of
    the device, where it is a known TPU or GPU."""

    log_every: int = _apart(100, _LOGS)
    """Steps between lines in metrics.jsonl."""

    eval_steps: int = _apart(100, _LOGS)
    """Most batches of validation rows in each validation; 0: all."""

    checkpoint_every: int = _apart(1000, _LOGS)
    """Steps between checkpoints: what a kill costs at most."""

    keep_checkpoints: int = _apart(2, _LOGS)
    """How many of the newest checkpoints are kept; each is three times as large as the weights."""

    def dimensions(self) -> dict[str, int]:
        """num_layers, num_heads, hidden_dim and intermediate_dim of the model."""
        given = {name: getattr(self, name) for name in DIMENSIONS}
        named: Any = dimensions_of(self.model)
        return {**named, **{name: value for name, value in given.items() if value is not None}}

    def folders(self) -> tuple[list[str], list[float] | None]:
        """The data folders and their weights (None: no weights given)."""
        entries = [_split_weight(entry) for entry in self.data]
        weights = [weight for _, weight in entries if weight is not None]
        if self.temperature is not None and (weights or len(entries) < 2):
            raise UserError(
                f"--temperature {self.temperature:g}: only for several --data folders without weights"
            )
        if weights and len(weights) < len(entries):
            raise UserError(f"--data {' '.join(self.data)}: give every folder a weight, or none")
        return [folder for folder, _ in entries], weights or None

    def count_steps(self, rows: int) -> int:
        """How many steps to train on so many rows."""
        if self.steps is not None:
            return self.steps
        return math.ceil(rows * (self.epochs or 1.0) / self.batch_size)


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
