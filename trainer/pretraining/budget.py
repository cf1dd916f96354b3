"""What to train in a given time: the size of the model and the number of steps, by this machine's speed.

The recipe and the rule are those of runs on IMDB's reviews (docs/imdb.md, "A budget of time"): the bits
that a byte of held-out text costs fall with the root of the tokens seen, towards a floor that is lower
for larger models, which see fewer tokens in the same time.
"""

from __future__ import annotations

import math
import os
import re
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from pipelines.command.run import RunOptions, say
from pipelines.command.stored_config import restore_config
from pipelines.errors import UserError
from pipelines.storage import files
from trainer.data.dataset import TRAIN, Dataset, open_datasets
from trainer.pretraining.check_config import check_config
from trainer.pretraining.cluster import PROCESSES
from trainer.pretraining.config import PretrainConfig
from trainer.pretraining.speed import measure_speed
from trainer.run_folder import IDENTITY, holds_run, read_identity

_TIME = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?")
# What validations, checkpoints and the report take, and what starting and ending does, in seconds.
_OVERHEAD, _STARTING = 0.08, 20
_FEWEST_STEPS = 20
_TOKENS_PER_STEP = 4096
# More passes over the rows than this are told, and dropout stays.
_FEW_PASSES = 5
_RATES = {"muon": 0.002, "adamw": 0.001}
_RECIPE: dict[str, Any] = {
    "optimizer": "muon",
    "schedule": "linear",
    "initial_positions": "sinusoidal",
    "mask_selection_rate": 0.2,
}
_SHAPE = ("num_layers", "num_heads", "hidden_dim", "intermediate_dim")
_CHOSEN = (
    *_SHAPE,
    *_RECIPE,
    "learning_rate",
    "batch_size",
    "dropout",
    "dtype",
    "steps",
    "warmup_steps",
)
# Bits a byte are ``floor`` + _FALL / sqrt(million tokens).
_FALL = 1.12
Measure = Callable[[PretrainConfig, Collection[str], float], tuple[float, dict[str, Any]]]


@dataclass(frozen=True)
class Size:
    """A model of ``layers`` layers, ``width`` wide, and the bits a byte that it comes near to."""

    layers: int
    width: int
    floor: float

    def shape(self) -> dict[str, int]:
        """Its dimensions, as options name them."""
        values = (self.layers, self.width // 64, self.width, 4 * self.width)
        return dict(zip(_SHAPE, values, strict=True))

    def bits(self, tokens: float) -> float:
        """Of a byte of IMDB's held-out text, after so many tokens."""
        return self.floor + _FALL / math.sqrt(tokens / 1e6)


# By the time that a step takes. A step had 4,096 tokens, in rows of 128 and then of 256.
SIZES = (Size(2, 128, 1.096), Size(2, 256, 0.96), Size(4, 256, 0.949))


def parse_time(text: str) -> float:
    """Seconds of ``2h``, ``90m``, ``1h30m`` or ``45s``. Raises UserError for anything else.

    >>> [parse_time(text) for text in ("2h", "1h30m", "0.5h", "45s")]
    [7200.0, 5400.0, 1800.0, 45.0]
    """
    match = _TIME.fullmatch(text)
    parts = match.groups() if match else ()
    seconds = sum(float(part or 0) * unit for part, unit in zip(parts, (3600, 60, 1), strict=False))
    if not 0 < seconds < math.inf:
        raise UserError(f"--budget {text[:40]}: give a time such as 2h, 90m or 1h30m")
    return seconds


def settle_budget(config: PretrainConfig, options: RunOptions, started: float) -> PretrainConfig:
    """The config with the options that ``--budget`` chooses, which it prints; unchanged without it.

    A run that was begun with this budget keeps what was chosen then. ``started``: when the command
    began, in seconds since 1970. Raises UserError for what a budget cannot choose for.
    """
    if config.budget is None:
        return config
    seconds = parse_time(config.budget)
    check_config(config)
    _refuse(config)
    given = {f.name for f in fields(config) if getattr(config, f.name) != f.default}
    if not options.overwrite and holds_run(config.output):
        path = files.join(config.output, IDENTITY)
        before = restore_config(PretrainConfig, read_identity(config.output)["config"], path)
        if before.budget != config.budget:
            begun = f"with --budget {before.budget}" if before.budget else "without --budget"
            raise UserError(
                f"--budget {config.budget}: the run in {config.output} was started {begun}; give that "
                "again, choose another folder, or start over with --overwrite"
            )
        kept = {name: getattr(before, name) for name in _CHOSEN if name not in given}
        return replace(config, **kept)
    datasets = open_datasets(config.folders()[0])
    say("pretrain", f"--budget {config.budget}: timing some steps")

    def left() -> float:
        return (seconds - (time.time() - started) - _STARTING) * (1 - _OVERHEAD)

    chosen, size = choose(config, given, datasets, left, measure_speed)
    settled = replace(config, **chosen)
    if chosen["steps"] < _FEWEST_STEPS:
        raise UserError(
            f"--budget {config.budget} leaves time for only {max(0, chosen['steps'])} steps on this "
            "machine; give a longer one"
        )
    say("pretrain", f"--budget {config.budget} is {_as_flags(chosen)}")
    tokens = chosen["steps"] * settled.batch_size * datasets[0].seq_length
    text = f"up to {tokens / 1e6:,.3g} million tokens"
    if size and not given & {*_RECIPE, "learning_rate", "batch_size", "dropout"}:
        text += f"; on IMDB's reviews that would be about {size.bits(tokens):.2f} bits a byte"
    say("pretrain", text)
    if (passes := _passes(settled, datasets)) > _FEW_PASSES:
        say(
            "pretrain",
            f"every row is seen {passes:,.0f} times: more text would teach more than more time",
        )
    return settled


def choose(
    config: PretrainConfig,
    given: Collection[str],
    datasets: Sequence[Dataset],
    left: Callable[[], float],
    measure: Measure,
) -> tuple[dict[str, Any], Size | None]:
    """The options to be changed, but for those that were ``given``, and the size, where it was chosen.

    ``left``: how many seconds are left for steps; ``measure``: as ``measure_speed``.
    """
    seq_length = datasets[0].seq_length
    optimizer = config.optimizer if "optimizer" in given else _RECIPE["optimizer"]
    recipe: dict[str, Any] = {
        **_RECIPE,
        "batch_size": max(1, _TOKENS_PER_STEP // seq_length),
        "dropout": 0.0,
        **({"learning_rate": _RATES[optimizer]} if optimizer in _RATES else {}),
    }
    if any(dataset.is_masked for dataset in datasets):
        del recipe["mask_selection_rate"]
    recipe = {name: value for name, value in recipe.items() if name not in given}
    free = {"dtype", "batch_size"} - {*given}
    best: tuple[dict[str, Any], Size | None] = ({}, None)
    fewest, step_seconds = math.inf, math.inf
    sizes: Sequence[Size | None] = [None] if {*given} & {"model", *_SHAPE} else SIZES
    for size in sizes:
        options = {**(size.shape() if size else {}), **recipe}
        trial = replace(config, **options, steps=1000, epochs=None)
        seconds, fitted = measure(trial, free, left())
        options |= fitted
        rows = left() / seconds * options.get("batch_size", config.batch_size)
        bits = size.bits(max(1.0, rows * seq_length)) if size else 0.0
        if bits >= fewest:
            break
        fewest, step_seconds, best = bits, seconds, (options, size)
    options, size = best

    def settled() -> PretrainConfig:
        return replace(config, **options, steps=int(left() / step_seconds))

    if "dropout" in options and _passes(settled(), datasets) > _FEW_PASSES:
        del options["dropout"]
        step_seconds, _ = measure(settled(), (), left())
    # With what is left after timing, also of what was not chosen.
    options["steps"] = settled().steps
    if "warmup_steps" not in given:
        options["warmup_steps"] = max(0, min(500, options["steps"] // 10))
    return options, size


def _passes(config: PretrainConfig, datasets: Sequence[Dataset]) -> float:
    rows = sum(dataset.rows(TRAIN) for dataset in datasets)
    return (config.steps or 0) * config.batch_size / max(1, rows)


def _refuse(config: PretrainConfig) -> None:
    for name in ("steps", "epochs"):
        if getattr(config, name) is not None:
            raise UserError(f"--budget {config.budget} and --{name}: give one of them")
    for name in ("initial_run", "initial_preset"):
        if getattr(config, name):
            raise UserError(
                f"--budget {config.budget} and --{name}: a budget chooses a model with random weights; "
                "give --steps and the options you want"
            )
    if config.distributed or PROCESSES in os.environ:
        raise UserError(
            f"--budget {config.budget}: each process of a distributed run would choose for itself; give "
            "the flags that --budget and --dry_run print on one of the machines"
        )
    if config.optimizer not in _RATES and config.learning_rate == PretrainConfig.learning_rate:
        raise UserError(
            f"--budget {config.budget} --optimizer {config.optimizer}: give --learning_rate too"
        )


def _as_flags(chosen: Mapping[str, Any]) -> str:
    return " ".join(f"--{name} {value}" for name, value in chosen.items())
