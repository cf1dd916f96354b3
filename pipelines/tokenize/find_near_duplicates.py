"""Finding near-duplicates with Beam: signatures of documents to the documents that go, by shard.

    bands of signatures, cut by their keys -> links between documents alike -> rounds that tie every
    document to the smallest of its cluster, cut by document -> the documents that go, by their shards

What moves are tables, on one machine through files; a worker holds one part of them. Every table that
is sent is counted where it is sent and where it arrives: nothing can be lost on the way in silence.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import apache_beam as beam
import numpy as np
from apache_beam.transforms.window import GlobalWindows
from numpy.typing import NDArray

from pipelines.beam.step_times import time_each
from pipelines.records.manifest import check_balance
from pipelines.records.ragged import Columns, concatenate, group_rows, take
from pipelines.stage import Report
from pipelines.tokenize.config import TokenizeConfig
from pipelines.tokenize.near_duplicates import (
    ROUNDS,
    count_clusters,
    find_clusters,
    label,
    large_star,
    link_alike,
    part_of,
    sign_documents,
    small_star,
    small_star_both_ways,
    with_marks,
)
from pipelines.tokenize.shard import assign_shards
from pipelines.tokenize.shown_clusters import choose_documents, sized_clusters
from pipelines.tokenize.stored_blocks import BlockFile, StoredTable

_STEP = "finding near-duplicates"
SENT, ARRIVED = "near_tables_sent", "near_tables_arrived"
# Parts of what is compared, for each shard: a part takes less memory than a shard.
_PARTS_PER_SHARD = 4
# Of links, at most: they are small, and of more parts each would send most others a table of one or two.
_MOST_LINK_PARTS = 1024
# Documents whose bands a worker gathers before it cuts them: so many for each part, within limits.
_DOCUMENTS_OF_A_PART, _LEAST_DOCUMENTS, _MOST_DOCUMENTS = 1 << 3, 1 << 15, 1 << 19
# The part of counts, beside those of tables.
_COUNTS = -1

Table = Columns | StoredTable


def parts_of_bands(shards: int) -> int:
    """Into how many parts the entries of bands are cut."""
    return shards * _PARTS_PER_SHARD


def parts_of_links(shards: int) -> int:
    """Into how many parts links are cut."""
    return min(parts_of_bands(shards), _MOST_LINK_PARTS)


def documents_to_cut(shards: int) -> int:
    """How many documents a worker gathers before it cuts their bands."""
    wanted = parts_of_bands(shards) * _DOCUMENTS_OF_A_PART
    return min(max(wanted, _LEAST_DOCUMENTS), _MOST_DOCUMENTS)


def check_sending(counts: Counter[str]) -> None:
    """Raises RuntimeError unless every table arrived; removes the counts of that."""
    check_balance(counts, "tables of near-duplicates", SENT, (ARRIVED,))
    for name in (SENT, ARRIVED):
        counts.pop(name, None)


@dataclass(frozen=True)
class Dropped:
    """The ``doc_ids`` of documents that go because others like them stay."""

    doc_ids: NDArray[np.uint64]


@dataclass(frozen=True)
class Shown:
    """Documents of which the output shows how they begin, as ``choose_documents`` links them."""

    links: Columns


class _Send(beam.DoFn):
    """Sends tables on, each part of them to its own group. What is counted goes the same way, as a
    part of its own, and so do all counts that arrive."""

    def __init__(self, config: TokenizeConfig, folder: str | None):
        self._parts = parts_of_links(config.train_shards)
        self._folder = folder

    def start_bundle(self) -> None:
        self._file = None if self._folder is None else BlockFile(self._folder)
        self._counts: Counter[str] = Counter()

    def finish_bundle(self) -> Iterator[Any]:
        if self._file is not None:
            self._file.close()
        if self._counts:
            yield GlobalWindows.windowed_value((_COUNTS, self._counts))

    def process(self, element: tuple[int, Iterable[Any]]) -> Iterator[Any]:
        part, sent = element
        if part == _COUNTS:
            for counts in sent:
                self._counts.update(counts)
            return
        yield from time_each(self._read(sent), self._counts, _STEP)

    def _read(self, sent: Iterable[Table]) -> Iterator[Any]:
        tables = [t.read() if isinstance(t, StoredTable) else t for t in sent]
        self._counts[ARRIVED] += len(tables)
        yield from self._work_on(concatenate(tables))

    def _work_on(self, table: Columns) -> Iterator[Any]:
        """What is sent on of a table of all that arrived for a part."""
        raise NotImplementedError

    def _send(
        self, ids: NDArray[np.uint64], take_rows: Callable[[NDArray[np.int64]], Columns]
    ) -> Iterator[tuple[int, Table]]:
        """Sends a table cut by ``ids``, of which ``take_rows`` gives some rows."""
        for part, rows in group_rows(part_of(ids, self._parts)):
            self._counts[SENT] += 1
            table = take_rows(rows)
            yield part, table if self._file is None else self._file.put(table)


class _SendBands(_Send):
    """(any part, tables of tokenized documents) -> (part, tables of entries of band keys)."""

    def __init__(self, config: TokenizeConfig, folder: str | None):
        super().__init__(config, folder)
        self._similarity, self._bands = config.near_similarity, config.near_bands
        self._parts = parts_of_bands(config.train_shards)
        self._documents_to_cut = documents_to_cut(config.train_shards)

    def start_bundle(self) -> None:
        super().start_bundle()
        self._held: list[Columns] = []
        self._documents = 0

    def _work_on(self, table: Columns) -> Iterator[tuple[int, Table]]:
        self._held.append(sign_documents(table, self._similarity, self._bands))
        self._documents += len(table["doc_ids"])
        if self._documents >= self._documents_to_cut:
            yield from self._cut()

    def finish_bundle(self) -> Iterator[Any]:
        if self._held:
            yield from map(
                GlobalWindows.windowed_value, time_each(self._cut(), self._counts, _STEP)
            )
        yield from super().finish_bundle()

    def _cut(self) -> Iterator[tuple[int, Table]]:
        held = concatenate(self._held)
        # Of a text that is there many times, one is enough: all entries of a key meet in one place.
        held = take(held, np.unique(held["doc_ids"], return_index=True)[1])
        self._held, self._documents = [], 0
        keys = held.pop("keys")

        def entries(rows: NDArray[np.int64]) -> Columns:
            return {"key": keys.reshape(-1)[rows], **take(held, rows // keys.shape[1])}

        yield from self._send(keys.reshape(-1), entries)


class _Step(_Send):
    """(part, tables) -> (part, tables of links at their documents)."""

    def __init__(
        self, config: TokenizeConfig, folder: str | None, work: Callable[[Columns], Columns]
    ):
        super().__init__(config, folder)
        self._work = work

    def _work_on(self, table: Columns) -> Iterator[Any]:
        links = self._work(table)
        yield from self._send(links["at"], partial(take, links))


class _Drop(_Send):
    """(part, tables of links) -> (part, tables of labels with marks) and, tagged 'dropped', (shard,
    Dropped or Shown)."""

    def __init__(self, config: TokenizeConfig, folder: str | None):
        super().__init__(config, folder)
        self._config = config

    def _work_on(self, table: Columns) -> Iterator[Any]:
        labels = label(table)
        for shard, rows in group_rows(assign_shards(labels["at"], self._config)):
            yield beam.pvalue.TaggedOutput("dropped", (shard, Dropped(labels["at"][rows])))
        shown = choose_documents(labels)
        for shard, rows in group_rows(assign_shards(shown["at"], self._config)):
            yield beam.pvalue.TaggedOutput("dropped", (shard, Shown(take(shown, rows))))
        marked = with_marks(labels)
        yield from self._send(marked["at"], partial(take, marked))


class _Count(_Send):
    """(part, tables of labels with marks) -> Reports of all counts and the sizes of clusters."""

    def _work_on(self, table: Columns) -> Iterator[Any]:
        self._counts.update(count_clusters(table))
        kept, sizes, _ = find_clusters(table)
        yield Report(clusters=sized_clusters(kept, sizes))

    def finish_bundle(self) -> Iterator[Any]:
        yield GlobalWindows.windowed_value(Report(self._counts))


@dataclass
class FindNearDuplicates(beam.PTransform):
    """(0, [table of tokenized documents]) -> (shard, Dropped or Shown), and Reports.

    ``folder``: where workers that share this machine's disk put what they send, else None.
    """

    config: TokenizeConfig
    folder: str | None

    def expand(
        self, documents: beam.PCollection[tuple[int, list[Columns]]]
    ) -> tuple[beam.PCollection[tuple[int, Dropped | Shown]], beam.PCollection[Report]]:
        config, folder = self.config, self.folder
        steps: dict[str, _Send] = {"Bands": _SendBands(config, folder)}
        steps["Link"] = _Step(
            config, folder, partial(link_alike, similarity=config.near_similarity)
        )
        for number in range(1, ROUNDS + 1):
            steps[f"Large{number}"] = _Step(config, folder, large_star)
            # The last is followed by labels, which need links at their larger document alone.
            small = small_star if number == ROUNDS else small_star_both_ways
            steps[f"Small{number}"] = _Step(config, folder, small)
        grouped: beam.PCollection[Any] = documents
        for name, step in steps.items():
            grouped = grouped | name >> _typed(step) | f"{name}Parts" >> beam.GroupByKey()
        drop = _typed(_Drop(config, folder)).with_outputs("dropped", main="marked")
        found = grouped | "Drop" >> drop
        marked = found.marked | "DropParts" >> beam.GroupByKey()
        return found.dropped, marked | "Count" >> beam.ParDo(_Count(config, None))


def _typed(step: beam.DoFn) -> Any:
    return beam.ParDo(step).with_output_types(tuple[int, Any])
