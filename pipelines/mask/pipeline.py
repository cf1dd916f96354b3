"""Stage ``mask`` as a Beam pipeline: each shard of rows to the shards of its copies, no shuffle.

Shard ``copy * n + i`` of the training split holds copy ``copy`` of row shard i of n, in the same
order. Validation rows are masked once.
"""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import apache_beam as beam
import numpy as np

from pipelines.beam.runner import Finish, run_pipeline
from pipelines.beam.step_times import time_each, timed
from pipelines.beam.tally import tally
from pipelines.beam.worker_step import WorkerStep
from pipelines.command.progress import Phase
from pipelines.command.run import RunOptions
from pipelines.mask.config import MaskStageConfig
from pipelines.mask.mask_rows import mask_dense_rows
from pipelines.plan import Plan
from pipelines.records.dense_rows import dense_rows
from pipelines.records.manifest import Manifest, check_balance, open_shard, read_manifest
from pipelines.records.ragged import Columns, Ragged, offsets_of
from pipelines.records.shards import ShardInfo, shard_name, write_shard
from pipelines.records.versions import deciding_versions
from pipelines.stage import Report, StageRun, add_counts, count_written, run_stage
from pipelines.storage import files
from pipelines.text.vocabulary import Vocabulary
from pipelines.text.vocabulary_source import VOCABULARY_FILE, load_vocabulary, save_vocabulary

# Rows masked at a time: bounds a worker's memory, and changes nothing else.
_BLOCK_ROWS = 8192
# To estimate a run.
_SAMPLED_ROWS = 2000
# What a worker has in memory, and for each position of the rows masked at a time.
_WORKER_BYTES, _POSITION_BYTES = 10e6, 25


@dataclass(frozen=True)
class Work:
    """One file to write: copy ``copy`` of a shard of rows."""

    split: str
    rows: ShardInfo
    copy: int
    name: str


def plan_work(rows: Manifest, config: MaskStageConfig) -> list[Work]:
    """All files of the output."""
    work = []
    for split, shards in rows.splits.items():
        copies = range(config.copies if split == "train" else 1)
        masked = [(copy, shard) for copy in copies for shard in shards]
        for number, (copy, shard) in enumerate(masked):
            name = shard_name(split, number, len(masked), config.format)
            work.append(Work(split, shard, copy, name))
    return work


class MaskShard(WorkerStep):
    """Work -> Report, after writing the file."""

    def __init__(self, rows: Manifest, config: MaskStageConfig, vocabulary: Vocabulary):
        super().__init__()
        self._rows, self._config, self._vocabulary = rows, config, vocabulary

    def process(self, element: Work) -> Iterator[Report]:
        config = self._config
        counts: Counter[str] = Counter()

        def examples(blocks: Iterator[Columns]) -> Iterator[Columns]:
            for rows in blocks:
                with timed(counts, "masking"):
                    masked, block_counts = self.mask(rows, element.copy)
                counts.update(block_counts)
                tally(examples=block_counts["rows"])
                yield masked

        with (
            timed(counts, "writing"),
            open_shard(config.input, self._rows, element.rows) as reader,
        ):
            parts = examples(time_each(reader.in_order(_BLOCK_ROWS), counts, "reading"))
            shard, schema = write_shard(config.output, element.name, parts, config.format)
        counts["examples"] = counts.pop("rows")
        yield Report(counts, element.split, shard, schema)

    def mask(self, rows: Columns, copy: int) -> tuple[Columns, Counter[str]]:
        """The examples of one copy of the rows, in the rows' order, and the counts of the masking.

        An example is stored like its row (unpadded), with the token ids masked and three columns
        more: the ``copy``, and the row's ``mask_positions`` and ``mask_ids``.
        """
        dense = dense_rows(rows, self._rows.facts["seq_length"], self._vocabulary.pad_id)
        masked, counts = mask_dense_rows(dense, self._vocabulary, self._config, copy)
        tokens = rows["token_ids"]
        dtype = tokens.values.dtype
        chosen = masked["mask_weights"] > 0
        offsets = offsets_of(np.count_nonzero(chosen, axis=1))
        return {
            **{name: column for name, column in rows.items() if name != "token_ids"},
            "copy": np.full(len(tokens), copy, np.uint16),
            "token_ids": Ragged(
                masked["token_ids"][dense["padding_mask"]].astype(dtype), tokens.offsets
            ),
            "mask_positions": Ragged(masked["mask_positions"][chosen].astype(np.uint16), offsets),
            "mask_ids": Ragged(masked["mask_ids"][chosen].astype(dtype), offsets),
        }, counts


def mask(config: MaskStageConfig, options: RunOptions = RunOptions()) -> None:
    """Runs the stage. Raises UserError for what the user can put right."""
    config.check()
    rows = read_manifest(config.input, ("tokenize",))
    vocabulary = load_vocabulary(config.input).vocabulary
    config.check_masking(
        vocabulary_size=vocabulary.size,
        mask_token_id=vocabulary.mask_id,
        seq_length=rows.facts["seq_length"],
    )
    work = plan_work(rows, config)
    names = [item.name for item in work]
    examples = sum(item.rows.records for item in work)
    reads = {"input": [config.input]}
    inputs = {"rows": rows.fingerprint}
    run = StageRun("mask", config, inputs, reads, (VOCABULARY_FILE,), versions=deciding_versions())
    mask_shard = MaskShard(rows, config, vocabulary)
    finish = partial(_finish, run=run, rows=rows, vocabulary=vocabulary, expected=examples)

    def build(pipeline: beam.Pipeline) -> None:
        (
            pipeline
            | "Work" >> beam.Create(work)
            | "Spread" >> beam.Reshuffle()
            | "Mask" >> beam.ParDo(mask_shard)
            | Finish(finish)
        )

    def progress(counted: Counter[str]) -> Phase:
        if counted["examples"]:
            return Phase("mask: masking", counted["examples"], examples, "examples")
        return Phase("mask: masking", count_written(config.output, names), len(names), "shards")

    run_stage(
        run,
        options,
        reads=f"{rows.counts['rows']:,} rows, {config.copies} copies, {len(work)} shards to write",
        plan=lambda: _plan(work, rows, config, mask_shard),
        work=lambda _: run_pipeline(build, options.beam_args, progress),
    )


def _plan(work: list[Work], rows: Manifest, config: MaskStageConfig, mask_shard: MaskShard) -> Plan:
    """The files, and an estimate from the first rows of the largest shard."""
    largest = max((item.rows for item in work), key=lambda shard: shard.records)
    with (
        open_shard(config.input, rows, largest) as reader,
        tempfile.TemporaryDirectory() as folder,
    ):
        began = time.thread_time()
        examples, _ = mask_shard.mask(next(reader.in_order(_SAMPLED_ROWS)), 0)
        sample, _ = write_shard(folder, "sample", [examples], config.format)
        seconds = time.thread_time() - began
    number = sum(item.rows.records for item in work)
    scale = number / max(sample.records, 1)
    return Plan(
        [files.join(config.output, item.name) for item in work],
        {"examples": number, "bytes_out": sample.bytes * scale},
        seconds * scale,
        pieces=len(work),
        worker_bytes=_WORKER_BYTES
        + _POSITION_BYTES * rows.facts["seq_length"] * min(largest.records, _BLOCK_ROWS),
    )


def _finish(
    reports: list[Report], run: StageRun, rows: Manifest, vocabulary: Vocabulary, expected: int
) -> None:
    """Checks that everything balances, then publishes the output."""
    config: MaskStageConfig = run.config
    counts = add_counts(reports)
    check_balance({**counts, "expected": expected}, "examples", "expected", ("examples",))
    replaced = ("tokens_masked", "tokens_randomised", "tokens_kept")
    check_balance(counts, "selected tokens", "tokens_selected", replaced)
    length = config.selection_length(rows.facts["seq_length"])
    facts = {
        **rows.facts,
        "format": config.format,
        "copies": config.copies,
        "rows": rows.fingerprint,
        "mask": {**config.masking(), "mask_selection_length": length},
    }
    save_vocabulary(config.output, vocabulary)
    run.publish(counts, facts, reports, rates={"examples_per_second": counts["examples"]})
