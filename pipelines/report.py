"""What pieces of a stage report, and the one Beam step that ends every stage.

Counts travel as data beside the results, not as runner metrics: a retried bundle cannot count
twice, and the manifest is written only when all of them have arrived and balance.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import apache_beam as beam

from pipelines.records.codec import Schema
from pipelines.records.shards import ShardInfo


@dataclass(frozen=True)
class Report:
    """What one piece of work did: its counts and, if it wrote a shard, its split and schema, and how
    many rows have which label."""

    counts: Counter[str] = field(default_factory=Counter)
    split: str = ""
    shard: ShardInfo | None = None
    schema: Schema = ()
    labels: Counter[str] = field(default_factory=Counter)


def common_schema(reports: Iterable[Report]) -> Schema:
    """The schema of all shards, which must be one."""
    (schema,) = {report.schema for report in reports if report.shard is not None}
    return schema


def add_counts(reports: Iterable[Report]) -> dict[str, int]:
    """The sum of all counts, by name."""
    total: Counter[str] = Counter()
    for report in reports:
        total.update(report.counts)
    return dict(sorted(total.items()))


def collect_shards(reports: Iterable[Report]) -> dict[str, tuple[ShardInfo, ...]]:
    """The shards of each split, by name."""
    splits: dict[str, list[ShardInfo]] = {}
    for report in reports:
        if report.shard is not None:
            splits.setdefault(report.split, []).append(report.shard)
    return {
        split: tuple(sorted(shards, key=lambda shard: shard.name))
        for split, shards in sorted(splits.items())
    }


@dataclass
class Finish(beam.PTransform):
    """Calls ``finish(list of all elements)`` once, when all have arrived."""

    finish: Callable[[list[Any]], None]

    def expand(self, elements: beam.PCollection[Any]) -> beam.PCollection[Any]:
        return (
            elements
            | "One key" >> beam.Map(lambda element: (0, element)).with_output_types(tuple[int, Any])
            | "Gather" >> beam.GroupByKey()
            | "Finish" >> beam.Map(lambda keyed: self.finish(list(keyed[1])))
        )
