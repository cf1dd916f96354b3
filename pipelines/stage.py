"""What every stage does around its work: say what is read, know what is done, publish, sum up.

What the parts of a pipeline did comes together as ``Report``s: counts travel as data beside the
results, not as runner metrics, so a retried bundle cannot count twice, and the manifest is written only
when all of them have arrived and balance.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from pipelines.beam.step_times import take_times
from pipelines.command.options import deciding_fields
from pipelines.command.run import RunOptions, say
from pipelines.errors import UserError
from pipelines.plan import Plan, expect, print_plan, works_here
from pipelines.records.codec import Schema
from pipelines.records.manifest import MANIFEST, Manifest, read_manifest
from pipelines.records.output_folder import finish_output, prepare_output, read_run
from pipelines.records.shards import ShardInfo
from pipelines.records.versions import check_versions
from pipelines.resources import peak_memory, processor_seconds
from pipelines.storage import files
from pipelines.summary import print_summary


@dataclass(frozen=True)
class Report:
    """What one piece of work did: its counts and, if it wrote a shard, its split and schema, how many
    rows have which label, which documents leak which evaluation text (uint64[2, k], or empty), and
    what it knows of clusters of near-duplicates."""

    counts: Counter[str] = field(default_factory=Counter)
    split: str = ""
    shard: ShardInfo | None = None
    schema: Schema = ()
    labels: Counter[str | None] = field(default_factory=Counter)
    leaks: Any = ()
    clusters: Sequence[Any] = ()


@dataclass(frozen=True)
class StageRun:
    """One run of a stage, which may end in another process than it began in.

    ``config``: resolved and checked, with an ``output``; ``inputs``: what is read, as JSON, to
    recognise an unchanged input when the stage is run again; ``reads``: the paths of that, by their
    flags; ``makes``: the names of what is written besides shards, manifest and run.json; ``versions``:
    those that decide the bytes, where the run began.
    """

    stage: str
    config: Any
    inputs: Any
    reads: Mapping[str, Sequence[str]] = field(default_factory=dict)
    makes: tuple[str, ...] = ()
    started: float = field(default_factory=time.time)
    versions: Mapping[str, str] = field(default_factory=dict)

    def is_finished(self, *, overwrite: bool) -> bool:
        """Makes the output ready for writing, unless it is there already: then says so.

        Raises UserError where ``--output`` holds another output, unless ``overwrite``, and where it
        holds what is read or somebody's files.
        """
        output = self.config.output
        finished = prepare_output(
            output,
            deciding_fields(self.config),
            self.inputs,
            overwrite=overwrite,
            stage=self.stage,
            makes=self.makes,
            reads=self.reads,
        )
        if finished:
            say(self.stage, f"{output} is finished already; nothing to do")
        return finished

    def publish(
        self,
        counts: Mapping[str, int],
        facts: Mapping[str, Any],
        reports: Iterable[Report] = (),
        rates: Mapping[str, float] | None = None,
        listed: Sequence[str] = (),
    ) -> None:
        """Publishes run.json and, last, the manifest of counts that balance.

        rates: amounts of this run by the name of their rate, such as ``megabytes_per_second``.
        listed: the files whose checksums go into SHA256SUMS.
        """
        check_versions(self.versions)
        written = [
            (report.split, report.shard, report.schema) for report in reports if report.shard
        ]
        written.sort(key=lambda entry: (entry[0], entry[1].name))
        schemas = {schema for _, _, schema in written}
        if len(schemas) > 1:
            raise RuntimeError(f"shards of one output have several schemas: {schemas}")
        counts = Counter(counts)
        steps = take_times(counts)
        manifest = Manifest(
            stage=self.stage,
            config=deciding_fields(self.config),
            counts=dict(sorted(counts.items())),
            facts=facts,
            schema=schemas.pop() if schemas else (),
            splits={
                split: tuple(shard for _, shard, _ in group)
                for split, group in groupby(written, key=lambda entry: entry[0])
            },
            versions=self.versions,
        )
        seconds = time.time() - self.started
        run = {name: round(amount / seconds, 2) for name, amount in (rates or {}).items()}
        finish_output(
            self.config.output,
            manifest,
            self.inputs,
            {"seconds": round(seconds, 2), **run},
            steps=steps,
            reads={flag: getattr(self.config, flag) for flag in self.reads},
            listed=listed,
        )


def run_stage(
    run: StageRun,
    options: RunOptions,
    *,
    reads: str,
    plan: Callable[[], Plan],
    work: Callable[[Mapping[str, float]], None],
    ratios: Callable[[Manifest], Mapping[str, Any]] = lambda manifest: {},
) -> Manifest | None:
    """Does the work of a stage unless this is a dry run or the output is finished already.

    reads: what the stage reads, for the first line.
    work: makes the output, which ends with ``run.publish`` in a worker or here; gets what is expected,
        by name, for its progress.
    ratios: what the summary says besides counts and rates.

    Returns the manifest of an output just made, else None. Raises UserError where ``--output`` holds
    another output.
    """
    output = run.config.output
    say(run.stage, reads)
    if options.dry_run:
        print_plan(plan(), options)
        return None
    if run.is_finished(overwrite=options.overwrite):
        return None
    used = processor_seconds()
    expected: Mapping[str, float] = {}
    with suppress(UserError, OSError):  # what is wrong is the run's to say
        expected = expect(plan(), options)
    work(expected)
    if not files.exists(files.join(output, MANIFEST)):
        raise UserError(
            f"--output: the job ended in state DONE and published no manifest in {output}; give a "
            "folder on a disk that all workers share with this machine, or one at gs://"
        )
    manifest = read_manifest(output)
    # A worker that was killed while it wrote leaves its part, which another has written again.
    files.delete_temporaries(output)
    made = {"bytes_out": sum(shard.bytes for shard in manifest.shards()), "output": output}
    took: dict[str, float] = {}
    if works_here(options):
        took = {"processor_seconds": processor_seconds() - used, "peak_memory": peak_memory()}
    print_summary(
        manifest.counts, ratios(manifest), read_run(output), took, made, expected=expected
    )
    return manifest


def count_written(output: str, names: Sequence[str]) -> int:
    """How many of the shards with these names there are already."""
    return sum(files.exists(files.join(output, name)) for name in names)


def add_counts(reports: Iterable[Report]) -> Counter[str]:
    """The sum of all counts, by name."""
    total: Counter[str] = Counter()
    for report in reports:
        total.update(report.counts)
    return total


def row_ratios(manifest: Manifest) -> dict[str, str]:
    """How full packed rows are, what a token takes on disk, and how many say nothing."""
    counts, length = manifest.counts, manifest.facts["seq_length"]
    tokens = counts.get("tokens_out", 0) + counts.get("special_tokens", 0)
    size = sum(shard.bytes for shard in manifest.shards())
    unknown = counts.get("tokens_unknown", 0)
    return {
        **({"[UNK] of all tokens": f"{unknown / counts['tokens_in']:.2%}"} if unknown else {}),
        "rows filled to": f"{tokens / max(1, counts['rows'] * length):.2%}",
        "bytes of a token on disk": f"{size / max(1, tokens):.3f}",
    }
