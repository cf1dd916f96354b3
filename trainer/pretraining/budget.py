"""What to train in a given time: the size of the model and the number of steps, by this machine's speed.

The recipe and the rule are those of runs on IMDB's reviews (docs/imdb.md, "A budget of time"): the bits
that a byte of held-out text costs fall with the root of the tokens seen, towards a floor that is lower
for larger models, which see fewer tokens in the same time.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from pipelines.command.run import RunOptions, say
from pipelines.errors import UserError
from trainer.data.dataset import Dataset, open_datasets
from trainer.pretraining.config import PretrainConfig
from trainer.pretraining.speed import measure_speed
from trainer.run_folder import holds_run, read_identity

_TIME = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?")
# What validations, checkpoints and the report take, and what starting and ending does, in seconds.
_OVERHEAD, _STARTING = 0.08, 20
_FEWEST_STEPS = 20
_TOKENS_PER_STEP = 4096
_RECIPE: dict[str, Any] = {
    "optimizer": "muon",
    "learning_rate": 0.002,
    "schedule": "linear",
    "dropout": 0.0,
    "initial_positions": "sinusoidal",
    "mask_selection_rate": 0.2,
}
_SHAPE = ("num_layers", "num_heads", "hidden_dim", "intermediate_dim")
_CHOSEN = (*_SHAPE, *_RECIPE, "dtype", "batch_size", "steps", "warmup_steps")
# Bits a byte are ``floor`` + _FALL / sqrt(million tokens).
_FALL = 1.12


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
    seconds = (
        sum(float(n or 0) * unit for n, unit in zip(match.groups(), (3600, 60, 1), strict=True))
        if match
        else 0
    )
    if not seconds:
        raise UserError(f"--budget {text}: give a time such as 2h, 90m or 1h30m")
    return seconds


def settle_budget(config: PretrainConfig, options: RunOptions, started: float) -> PretrainConfig:
    """The config with what ``--budget`` chooses, said as flags; as it is without one.

    Of a run that was begun with this budget, what was chosen then. ``started``: when the command began,
    in seconds since 1970. Raises UserError for what a budget cannot choose for.
    """
    if config.budget is None:
        return config
    seconds = parse_time(config.budget)
    changed = {
        field.name for field in fields(config) if getattr(config, field.name) != field.default
    }
    given = options.given | changed  # from Python nothing else says what was given
    _refuse(config, given)
    if not options.overwrite and holds_run(config.output):
        before = read_identity(config.output)["config"]
        if before.get("budget") != config.budget:
            raise UserError(
                f"--budget {config.budget}: the run in {config.output} was begun with "
                f"{'--budget ' + before['budget'] if before.get('budget') else 'none'}; give that "
                "again, choose another folder, or start over with --overwrite"
            )
        return replace(config, **{n: before[n] for n in _CHOSEN if n in before and n not in given})
    folders, _ = config.folders()
    (dataset, *_) = open_datasets(folders)

    def left() -> float:
        return (seconds - (time.time() - started) - _STARTING) * (1 - _OVERHEAD)

    chosen, size = choose(config, given, dataset, left, measure_speed)
    if chosen["steps"] < _FEWEST_STEPS:
        raise UserError(
            f"--budget {config.budget}: time for {max(0, chosen['steps'])} steps here; give more"
        )
    say("pretrain", f"--budget {config.budget} is {_as_flags(chosen)}")
    tokens = chosen["steps"] * chosen.get("batch_size", config.batch_size) * dataset.seq_length
    expected = f"; on IMDB's reviews that gave {size.bits(tokens):.2f} bits a byte" if size else ""
    say("pretrain", f"so it sees {tokens / 1e6:,.3g} million tokens{expected}")
    return replace(config, **chosen)


def choose(
    config: PretrainConfig,
    given: frozenset[str],
    dataset: Dataset,
    left: Callable[[], float],
    measure: Callable[[PretrainConfig, bool], tuple[float, str]],
) -> tuple[dict[str, Any], Size | None]:
    """The options to be changed, but for those that were ``given``, and the size, where it was chosen.

    ``left``: how many seconds are left for steps; ``measure``: the seconds of a step, and the dtype,
    which it may choose.
    """
    recipe = {**_RECIPE, "batch_size": max(1, _TOKENS_PER_STEP // dataset.seq_length)}
    if dataset.is_masked:
        del recipe["mask_selection_rate"]
    recipe = {name: value for name, value in recipe.items() if name not in given}
    sizes = [None] if given & {"model", *_SHAPE} else [*SIZES]
    best: tuple[dict[str, Any], Size | None] = ({}, None)
    fewest = math.inf
    for size in sizes:
        options = {**(size.shape() if size else {}), **recipe}
        trial = replace(config, **options, steps=1000, epochs=None)
        step_seconds, dtype = measure(trial, "dtype" not in given)
        steps = int(left() / step_seconds)
        tokens = max(1, steps) * trial.batch_size * dataset.seq_length
        bits = size.bits(tokens) if size else 0.0
        if bits >= fewest:
            break
        fewest = bits
        options |= {"dtype": dtype} if "dtype" not in given else {}
        options |= {"warmup_steps": min(500, steps // 10)} if "warmup_steps" not in given else {}
        best = {**options, "steps": steps}, size
    return best


def _refuse(config: PretrainConfig, given: frozenset[str]) -> None:
    for name in ("steps", "epochs"):
        if name in given:
            raise UserError(f"--budget {config.budget} and --{name}: give one of them")
    for name in ("initial_run", "initial_preset", "distributed"):
        if name in given:
            raise UserError(
                f"--budget {config.budget} and --{name}: a budget is for one process and a model from "
                "random weights; give --steps and the options you want"
            )


def _as_flags(chosen: Mapping[str, Any]) -> str:
    return " ".join(f"--{name} {value}" for name, value in chosen.items())
