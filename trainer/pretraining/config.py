"""The options of ``python -m trainer.pretrain``: what each does, and which of them decide a run."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from typing import Any, Literal

from pipelines.command.options import CHOOSE, option
from pipelines.errors import UserError
from pipelines.mask.config import MaskConfig
from trainer.models.sizes import dimensions_of

_DEFAULT_MODEL = "bert_tiny"
_DIMENSIONS = ("num_layers", "num_heads", "hidden_dim", "intermediate_dim")
_ORDER = "data and its order"
_MODEL = "model"
_OPTIMIZER = "optimizer"
_DEVICES = "devices, speed and memory"
_LOGS = "logs, validation and checkpoints"


def _indirect(default: Any, group: str, metavar: str | None = None) -> Any:
    """An option that does not decide a run by its value alone: it only says what is logged or kept,
    or ``PretrainPlan.deciding`` holds what it means for the data."""
    return option(default, group=group, decides=False, metavar=metavar)


@dataclass(frozen=True, kw_only=True)
class PretrainConfig(MaskConfig):
    """Pretrain a BERT with masked language modelling. If it is killed, the same command resumes it
    and gives the same weights.

    SIGTERM and Ctrl-C write a checkpoint first; after SIGTERM the exit status is 75: start again.

    Example: --data runs/rows --output runs/bert --model bert_mini --epochs 10 --learning_rate 1e-3
    """

    data: tuple[str, ...] = option(group=CHOOSE, decides=False, metavar="DIR")
    """Outputs of pipelines.tokenize or pipelines.mask, local or gs://; each may carry its share of
    the batches: DIR=WEIGHT. Without weights all rows are one pool."""

    output: str = option(group=CHOOSE, decides=False, metavar="DIR")
    """The folder of the run, local or gs://: checkpoints, metrics.jsonl, weights, report.html."""

    model: str | None = _indirect(None, CHOOSE, "SIZE")
    """A size: bert_tiny (the default), bert_mini, bert_small, bert_medium, bert_base or bert_large.
    Larger ones learn more from each row and take longer."""

    steps: int | None = _indirect(None, CHOOSE)
    """Training steps; default: as many as --epochs takes. More steps keep helping for long."""

    epochs: float | None = _indirect(None, CHOOSE)
    """Passes over all rows, instead of --steps; default: 1. Every pass has fresh masks."""

    budget: str | None = _indirect(None, CHOOSE, "TIME")
    """The time to take, such as 2h or 90m, instead of --steps: some steps are timed, then the model's
    size and the whole recipe (optimizer, rate, batch, masks, dtype, steps) are chosen and printed as
    flags. What you set to other than its default stays."""

    batch_size: int = option(32, group=CHOOSE)
    """Rows in a step, over all devices. BERT used 256; give what fits in memory, and for larger
    batches add --grad_accumulation."""

    learning_rate: float = option(1e-4, group=CHOOSE)
    """The peak rate, reached after the warm-up. 1e-3 to 2e-3 suits bert_tiny, 1e-4 bert_base; lower
    it if the loss spikes or the run diverges."""

    dtype: Literal["float32", "mixed_bfloat16"] = option("float32", group=CHOOSE)
    """Precision of the arithmetic. mixed_bfloat16 is faster on TPUs, GPUs, and CPUs with AMX or
    AVX512-BF16; weights stay float32."""

    eval_every: int | None = _indirect(None, CHOOSE)
    """Steps between validations; default: a twentieth of all, or as many as keep them below a tenth of
    the time; twice at least."""

    seed: int = option(0, group=CHOOSE)
    """Decides initial weights, order, masks and dropout. Try several to see how much is chance."""

    temperature: float | None = _indirect(None, _ORDER)
    """Gives each folder the share rows ** (1 / temperature), instead of weights. 1: by size; higher:
    small folders, such as rare languages, come up more often."""

    shard_window: int | None = _indirect(None, _ORDER)
    """Shards whose rows are shuffled together, one window after another; default: all. For gs:// data
    larger than the cache, which must hold two windows."""

    skip_rows: str | None = _indirect(None, _ORDER, "FILE")
    """A file of rows never to train on, one a line, as trainer.explain names them: SHARD RECORD,
    SHARD FIRST-LAST, or SHARD for all of its rows."""

    cache_dir: str | None = _indirect(None, _ORDER, "DIR")
    """Where shards of gs:// data are kept; default: ~/.cache/bertmill/shards."""

    cache_gb: float = _indirect(20.0, _ORDER)
    """Size limit of --cache_dir in 1e9 bytes; the least recently used shards are deleted first."""

    initial_run: str | None = _indirect(None, _MODEL, "DIR")
    """A finished run to take the model and its initial weights from, for instance one with shorter
    rows (phases: first 128 tokens, then 512); default: random weights."""

    initial_preset: str | None = _indirect(None, _MODEL, "PRESET")
    """A published BERT to go on from: a KerasHub or Hugging Face preset (folder or name). --data must
    have its vocabulary, or one that extends it (pipelines.vocab --from_preset); see
    docs/domain.md."""

    initial_positions: Literal["normal", "sinusoidal"] = _indirect("normal", _MODEL)
    """Initial position embeddings: random as all other weights (BERT), or sinusoidal, from which a
    small model may learn to find neighbours sooner (docs/imdb.md); AdamW then wants 1,000
    --warmup_steps, Muon 500."""

    num_layers: int | None = _indirect(None, _MODEL)
    """Transformer layers; default: those of the size in --model."""

    num_heads: int | None = _indirect(None, _MODEL)
    """Attention heads of a layer, a divisor of --hidden_dim; default: the size's."""

    hidden_dim: int | None = _indirect(None, _MODEL)
    """Width of the vectors between layers; default: the size's."""

    intermediate_dim: int | None = _indirect(None, _MODEL)
    """Units of a feed-forward layer; default: the size's. Usually four times --hidden_dim."""

    dropout: float = _indirect(0.1, _MODEL)
    """Dropout rate of embeddings, attention and feed-forward outputs. Give 0 if no row is seen more
    than a few times."""

    attention_dropout: float | None = _indirect(None, _MODEL)
    """Dropout rate of attention alone; default: as --dropout. Give 0 on TPUs and GPUs: only then does
    training use their fused attention kernels."""

    max_sequence_length: int | None = _indirect(None, _MODEL)
    """Tokens in the longest row that the model accepts; default: 512, or the length of the rows if
    they are longer."""

    next_sentence_loss: Literal["auto", "true", "false"] = _indirect("auto", _MODEL)
    """Also predict each row's label (rows packed as pairs have one) from the pooled output. auto: if
    all data has labels. Logged separately: loss stays that of the masked LM."""

    optimizer: Literal["adamw", "lamb", "muon"] = option("adamw", group=_OPTIMIZER)
    """adamw; muon, which learns more from each row (docs/imdb.md); or lamb for batches of thousands of
    rows."""

    warmup_steps: int | None = _indirect(None, _OPTIMIZER)
    """Steps in which the learning rate rises linearly; default: a tenth of all. Give more if the loss
    spikes early."""

    schedule: Literal["linear", "cosine", "constant"] = option("linear", group=_OPTIMIZER)
    """Decay of the learning rate after the warm-up, to 0 at the last step unless constant."""

    weight_decay: float = option(0.01, group=_OPTIMIZER)
    """Decay of kernels and embeddings in each step, times the learning rate; biases and normalisation
    are exempt."""

    clip_norm: float = option(1.0, group=_OPTIMIZER)
    """Largest norm of the gradient over all weights; longer ones are scaled down. 0: no limit."""

    skip_norm: float = _indirect(0.0, _OPTIMIZER)
    """Skip a step whose gradient's norm is more than so many times the usual one, or no number (JAX
    only). 0: skip none, and stop where the loss is no number. Give 10 if single batches throw a long
    run back; metrics.jsonl counts them (skipped_steps)."""

    grad_accumulation: int | None = option(None, group=_DEVICES)
    """Parts that each batch is processed in, to save memory (JAX only); dropout is that of the whole.
    Default: 1 on accelerators, on CPUs as many as make its tokens few enough for the caches."""

    remat: bool = option(False, group=_DEVICES)
    """Recompute activations inside layers in the backward pass: less memory, about a third more
    arithmetic (JAX only)."""

    steps_per_execution: int | None = _indirect(None, _DEVICES)
    """Steps in one call of the device, where nothing is due between them (JAX only); best a divisor
    of log_every, eval_every and checkpoint_every. Helps where a step takes milliseconds. Default: 10 on
    accelerators, 1 on CPUs."""

    distributed: bool = _indirect(False, _DEVICES)
    """Join the other processes of this run (start the same command in each): on TPU VMs they find
    each other; elsewhere KERAS_DISTRIBUTION_JOB_ADDRESSES, …_NUM_PROCESSES and …_PROCESS_ID say
    where they are. Every process needs the same data and output folders."""

    model_parallel: int = _indirect(1, _DEVICES)
    """Devices that the attention heads and feed-forward units of each row are split over; the rows of
    a batch are split over the rest. For models that do not fit on one device."""

    peak_tflops: float | None = _indirect(None, _DEVICES)
    """Peak of one device in 1e12 operations a second, for MFU; default: known for common TPUs and
    GPUs."""

    log_every: int | None = _indirect(None, _LOGS)
    """Steps between lines in metrics.jsonl; default: a hundredth of all, at most 100."""

    eval_steps: int = _indirect(100, _LOGS)
    """Largest number of batches in each validation; 0: all validation rows."""

    checkpoint_every: int = _indirect(1000, _LOGS)
    """Steps between checkpoints: the most work that a kill can lose."""

    keep_checkpoints: int = _indirect(2, _LOGS)
    """How many of the newest checkpoints are kept; each is three times as large as the weights."""

    def given_dimensions(self) -> dict[str, int]:
        """What options say of num_layers, num_heads, hidden_dim, intermediate_dim and
        max_sequence_length."""
        flags = {name: getattr(self, name) for name in (*_DIMENSIONS, "max_sequence_length")}
        named: dict[str, int] = dimensions_of(self.model) if self.model else {}
        return {**named, **{name: value for name, value in flags.items() if value is not None}}

    def dimensions(self, longest: int = 1) -> dict[str, int]:
        """The dimensions of a model from scratch, for rows of ``longest`` tokens."""
        default = {**dimensions_of(_DEFAULT_MODEL), "max_sequence_length": max(512, longest)}
        return {**default, **self.given_dimensions()}

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
