"""Finished rows in other shards, with Beam: cut by a key of their ids, grouped, ordered, written."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import apache_beam as beam
import numpy as np
from numpy.typing import NDArray

from pipelines.beam.options import runs_here
from pipelines.beam.runner import Finish, run_pipeline
from pipelines.command.parse import config_again
from pipelines.command.progress import Phase
from pipelines.command.run import RunOptions
from pipelines.keyed_random import fold, purpose_key
from pipelines.plan import Plan
from pipelines.records.codec import Schema
from pipelines.records.manifest import MANIFEST, Manifest, check_balance, open_shard, read_manifest
from pipelines.records.ragged import Columns, Ragged, group_rows, take
from pipelines.records.shards import ShardInfo, write_shard
from pipelines.records.versions import deciding_versions
from pipelines.stage import Report, StageRun, count_written, row_ratios, run_stage
from pipelines.storage import files
from pipelines.text.vocabulary_source import VOCABULARY_FILE, load_vocabulary, save_vocabulary
from pipelines.tokenize.config import TokenizeConfig
from pipelines.tokenize.pieces import order_rows
from pipelines.tokenize.shard import plan_shards
from pipelines.tokenize.stored_blocks import BlockFile, StoredBlock, StoredDocuments, store_tables

_ROWS_AT_ONCE = 8192
# The fact by which such an output is known, since its documents would not give its shards again.
RESHARDED = "resharded"


def reshard_rows(
    source: str,
    output: str,
    num_shards: int | None,
    form: Literal["array_record", "tfrecord"] | None,
    options: RunOptions = RunOptions(),
) -> None:
    """Writes the rows of ``source`` to ``output``, as a finished output of tokenize.

    ``num_shards`` or ``form`` None: as they are. Raises UserError for what the user can put right.
    """
    rows = read_manifest(source, ("tokenize",))
    where = files.join(source, MANIFEST)
    config = config_again(
        TokenizeConfig, "tokenize", rows.config, where, input=(source,), vocab=source, output=output
    )
    config = replace(
        config, num_shards=num_shards or config.num_shards, format=form or config.format
    )
    names = [shard.name for shard in plan_shards(config)]
    reads = {"input": [source]}
    inputs = {"rows": rows.fingerprint}
    run = StageRun(
        "tokenize", config, inputs, reads, (VOCABULARY_FILE,), versions=deciding_versions()
    )

    def work(_: Mapping[str, float]) -> None:
        save_vocabulary(output, load_vocabulary(source).vocabulary)
        here = runs_here(options.beam_args)

        def build(pipeline: beam.Pipeline) -> None:
            written = _write_all(pipeline, source, rows, config, folder)
            _ = written | Finish(partial(_publish, run=run, rows=rows))

        def progress(_: Counter[str]) -> Phase:
            written = count_written(output, names)
            return Phase("reshard: cutting rows into shards", written, len(names), "shards")

        with files.temporary_folder(output) if here else nullcontext() as folder:
            run_pipeline(build, options.beam_args, progress)

    run_stage(
        run,
        options,
        reads=f"{rows.counts['rows']:,} rows in {len(rows.shards())} shards, to {len(names)}",
        plan=lambda: Plan([files.join(output, name) for name in names]),
        work=work,
        ratios=row_ratios,
    )


def _write_all(
    pipeline: beam.Pipeline, source: str, rows: Manifest, config: TokenizeConfig, folder: str | None
) -> beam.PCollection[Report]:
    shards = [(split, shard) for split, infos in rows.splits.items() for shard in infos]
    empty = [(key, _empty_rows(rows.schema)) for key in range(len(plan_shards(config)))]
    cut = (
        pipeline
        | "Shards" >> beam.Create(shards)
        | "Spread" >> beam.Reshuffle()
        | "Cut" >> beam.ParDo(_CutShard(source, rows, config, folder))
    )
    return (
        (cut, pipeline | "Empty" >> beam.Create(empty))
        | "All" >> beam.Flatten()
        | "Typed" >> beam.Map(lambda pair: pair).with_output_types(tuple[int, Any])
        | "ByShard" >> beam.GroupByKey()
        | "Write" >> beam.ParDo(_WriteRows(config, rows.schema))
    )


class _CutShard(beam.DoFn):
    """(split, shard) -> (key of a new shard, table of its rows)."""

    def __init__(self, source: str, rows: Manifest, config: TokenizeConfig, folder: str | None):
        self._source, self._rows, self._config, self._folder = source, rows, config, folder

    def process(self, element: tuple[str, ShardInfo]) -> Iterator[tuple[int, Any]]:
        split, shard = element
        file = None if self._folder is None else BlockFile(self._folder)
        with open_shard(self._source, self._rows, shard) as reader:
            for table in reader.in_order(_ROWS_AT_ONCE):
                for key, chosen in group_rows(_assign(table["row_id"], split, self._config)):
                    part = take(table, chosen)
                    yield key, part if file is None else file.append(part)
        if file is not None:
            file.close()


class _WriteRows(beam.DoFn):
    """(key of a shard, tables of its rows) -> Report, after writing the shard."""

    def __init__(self, config: TokenizeConfig, schema: Schema):
        self._config, self._names = config, [field.name for field in schema]

    def process(self, element: tuple[int, Iterable[Columns | StoredBlock]]) -> Iterator[Report]:
        config, (key, tables) = self._config, element
        shard = plan_shards(config)[key]
        with tempfile.TemporaryDirectory(prefix="bertmill-") as folder:
            rows = store_tables(tables, folder)
            order = order_rows(rows.index["row_id"], config.seed)
            starts = range(0, max(1, len(order)), _ROWS_AT_ONCE)
            parts = (self._take(rows, order[start : start + _ROWS_AT_ONCE]) for start in starts)
            info, schema = write_shard(config.output, shard.name, parts, config.format)
        yield Report(Counter(rows=info.records), shard.split, info, schema)

    def _take(self, rows: StoredDocuments, order: NDArray[np.int64]) -> Columns:
        table = rows.take(order)
        return {name: table[name] for name in self._names}


def _assign(row_ids: NDArray[np.uint64], split: str, config: TokenizeConfig) -> NDArray[np.int64]:
    """The index in ``plan_shards`` of each row of a split: a function of its id alone."""
    keys = np.array([i for i, shard in enumerate(plan_shards(config)) if shard.split == split])
    draw = fold(purpose_key(config.seed, "reshard"), row_ids)
    return keys[(draw % np.uint64(len(keys))).astype(np.int64)]


def _empty_rows(schema: Schema) -> Columns:
    return {
        field.name: Ragged.empty(field.dtype) if field.ragged else np.zeros(0, field.dtype)
        for field in schema
    }


def _publish(reports: list[Report], run: StageRun, rows: Manifest) -> None:
    """Checks that every row is there, then publishes the output."""
    for split in rows.splits:
        written = sum(r.shard.records for r in reports if r.shard and r.split == split)
        balance = {"rows_in": rows.rows(split), "rows_out": written}
        check_balance(balance, f"rows of {split}", "rows_in", ("rows_out",))
    facts = {**rows.facts, "format": run.config.format, RESHARDED: rows.fingerprint}
    run.publish(rows.counts, facts, reports, {"rows_per_second": rows.counts["rows"]})
