"""What a run would do and is expected to take: estimated from a sample, shown before and beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipelines.command.run import RunOptions, show
from pipelines.resources import peak_memory
from pipelines.summary import print_summary

START_SECONDS = 10.0
# Building and ending a pipeline, on one core.
PIPELINE_SECONDS = 2.0
# Of what so many workers could do: threads of a process wait for each other, workers for the last.
_SHARED_EVENLY = 0.75


@dataclass(frozen=True)
class Plan:
    """What a run would do: the files it writes and, estimated from a sample, amounts and work.

    amounts: by the names that the manifest has for them; ``bytes_out`` is the size of the shards.
    core_seconds: shared work on one core, start-up apart; None where nothing is estimated.
    last_seconds: what is then done with all results, on each of two cores.
    pieces: how many workers can work at once.
    worker_seconds, worker_bytes: what each takes before it works, and of memory at most.
    shared_bytes: the memory where results are gathered.
    """

    writes: Sequence[str]
    amounts: Mapping[str, float] = field(default_factory=dict)
    core_seconds: float | None = None
    last_seconds: float = 0
    pieces: int = 1 << 30
    worker_seconds: float = 0
    worker_bytes: float = 0
    shared_bytes: float = 0


def print_plan(plan: Plan, options: RunOptions) -> None:
    """Prints what would be written and, estimated, amounts, the time they take and what that costs.

    The price is of a worker for an hour, in any currency.
    """
    for path in plan.writes:
        show(f"would write {path}")
    if plan.core_seconds is None:
        return
    print("estimated from a sample:")
    shown: dict[str, Any] = dict(expect(plan, options))
    if options.price is not None:
        hours = shown["workers"] * (START_SECONDS + shown["seconds"]) / 3600
        shown["price"] = f"{hours * options.price:,.2f}"
    print_summary(shown)


def expect(plan: Plan, options: RunOptions) -> dict[str, float]:
    """The figures that a run with this plan is expected to end with, by their names.

    Assumed: workers as fast as this machine's cores, which share the work as ``_SHARED_EVENLY`` says.
    """
    if plan.core_seconds is None:
        return {}
    from pipelines.beam.options import count_workers

    workers = count_workers(options.beam_args)
    working = min(workers, plan.pieces)
    at_once = working * _SHARED_EVENLY if working > 1 else 1
    starting = PIPELINE_SECONDS + workers * plan.worker_seconds
    figures = {
        **{name: round(amount) for name, amount in plan.amounts.items()},
        "workers": workers,
        "processor_seconds": starting + plan.core_seconds + 2 * plan.last_seconds,
        "seconds": starting + plan.core_seconds / at_once + plan.last_seconds,
    }
    if works_here(options):
        # What is imported, and of the sample, is there already.
        added = plan.shared_bytes + working * plan.worker_bytes
        figures["peak_memory"] = round(peak_memory() + added)
    return figures


def works_here(options: RunOptions) -> bool:
    """True if the work is done by this process and its children."""
    from pipelines.beam.options import runs_here

    return runs_here(options.beam_args)
