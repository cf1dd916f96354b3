"""Stage ``mask`` as a Beam pipeline: each shard of rows to the shards of its copies, no shuffle.

Shard ``copy * n + i`` of the training split holds copy ``copy`` of row shard i of n, in the same
order. Validation rows are masked once.
"""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import apache_beam as beam
import numpy as np

from pipelines import files
from pipelines.beam_runner import Finish, run_pipeline
from pipelines.command import RunOptions
from pipelines.mask.config import MaskConfig, MaskStageConfig
from pipelines.mask.mask_rows import mask_dense_rows
from pipelines.mask.replace_tokens import MaskCounts
from pipelines.records.dense_rows import dense_rows
from pipelines.records.manifest import Manifest, check_balance, open_shard, read_manifest
from pipelines.records.ragged import Columns, Ragged, concatenate, offsets_of
from pipelines.records.shards import ShardInfo, ShardReader, shard_name, write_shard
from pipelines.stage import Plan, Report, StageRun, add_counts, run_stage, shards_written
from pipelines.text.vocabulary import Vocabulary
from pipelines.text.vocabulary_source import check_vocabulary, load_vocabulary, save_vocabulary

# Rows masked at a time: bounds a worker's memory, and changes nothing else.
_BLOCK_ROWS = 8192
# To estimate a run.
_SAMPLED_ROWS = 2000


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
        copies = config.copies if split == "train" else 1
        for copy in range(copies):
            for index, shard in enumerate(shards):
                number, count = copy * len(shards) + index, copies * len(shards)
                name = shard_name(split, number, count, config.format)
                work.append(Work(split, shard, copy, name))
    return work


def mask_shard(
    reader: ShardReader, work: Work, rows: Manifest, config: MaskStageConfig, vocabulary: Vocabulary
) -> tuple[Columns, Counter[str]]:
    """The examples of one copy of a shard, and their counts."""
    parts, total = [], MaskCounts()
    for start in range(0, max(1, len(reader)), _BLOCK_ROWS):
        block = reader.read(np.arange(start, min(start + _BLOCK_ROWS, len(reader))))
        examples, counts = mask_columns(
            block, vocabulary, config, seq_length=rows.facts["seq_length"], copy=work.copy
        )
        parts.append(examples)
        total += counts
    examples = concatenate(parts)
    counted = Counter(asdict(total))
    counted["examples"] = counted.pop("rows")
    return examples, counted


def mask_columns(
    rows: Columns, vocabulary: Vocabulary, config: MaskConfig, *, seq_length: int, copy: int
) -> tuple[Columns, MaskCounts]:
    """The examples of one copy of the rows, in the rows' order, and the counts of the masking.

    An example is stored like its row (unpadded), with the token ids masked and three columns more:
    the ``copy``, and the ``mask_positions`` and ``mask_ids`` of the row, as many as were chosen.
    """
    dense = dense_rows(rows, seq_length, vocabulary.pad_id)
    masked, counts = mask_dense_rows(dense, vocabulary, config, copy)
    tokens: Any = rows["token_ids"]
    chosen = masked["mask_weights"] > 0
    offsets = offsets_of(np.count_nonzero(chosen, axis=1))
    examples = {name: column for name, column in rows.items() if name != "token_ids"}
    return {
        **examples,
        "copy": np.full(len(tokens), copy, np.uint16),
        "token_ids": Ragged(
            masked["token_ids"][dense["padding_mask"]].astype(tokens.values.dtype), tokens.offsets
        ),
        "mask_positions": Ragged(masked["mask_positions"][chosen].astype(np.uint16), offsets),
        "mask_ids": Ragged(masked["mask_ids"][chosen].astype(tokens.values.dtype), offsets),
    }, counts


class _MaskShard(beam.DoFn):
    def __init__(self, rows: Manifest, config: MaskStageConfig, vocabulary: Vocabulary):
        self._rows, self._config, self._vocabulary = rows, config, vocabulary

    def process(self, element: Work) -> Iterator[Report]:
        config = self._config
        with open_shard(config.input, self._rows, element.rows) as reader:
            examples, counts = mask_shard(reader, element, self._rows, config, self._vocabulary)
        info, schema = write_shard(config.output, element.name, [examples], config.format)
        yield Report(counts, element.split, info, schema)


def _finish(reports: list[Report], run: StageRun, rows: Manifest, vocabulary: Vocabulary) -> None:
    """Checks that everything balances, then publishes the output."""
    config: MaskStageConfig = run.config
    counts = add_counts(reports)
    copies = {split: config.copies if split == "train" else 1 for split in rows.splits}
    expected = sum(rows.rows(split) * number for split, number in copies.items())
    check_balance({**counts, "expected": expected}, "examples", "expected", ("examples",))
    check_balance(
        counts,
        "selected tokens",
        "tokens_selected",
        ("tokens_masked", "tokens_randomised", "tokens_kept"),
    )
    facts = {
        **rows.facts,
        "format": config.format,
        "copies": config.copies,
        "rows": rows.fingerprint,
        "mask": {
            **config.masking(),
            "mask_selection_length": config.selection_length(rows.facts["seq_length"]),
        },
    }
    save_vocabulary(config.output, vocabulary)
    run.publish(counts, facts, reports, rates={"examples_per_second": counts["examples"]})


def _plan(
    work: list[Work], rows: Manifest, config: MaskStageConfig, vocabulary: Vocabulary
) -> Plan:
    """What would be written, estimated from a sample of rows."""
    sampled = max(work, key=lambda item: item.rows.records)
    with (
        open_shard(config.input, rows, sampled.rows) as reader,
        tempfile.TemporaryDirectory() as folder,
    ):
        began = time.thread_time()
        block = reader.read(np.arange(min(_SAMPLED_ROWS, len(reader))))
        length = rows.facts["seq_length"]
        examples, _ = mask_columns(block, vocabulary, config, seq_length=length, copy=0)
        written, _ = write_shard(folder, "sample", [examples], config.format)
        seconds = time.thread_time() - began
    number = sum(item.rows.records for item in work)
    scale = number / max(written.records, 1)
    return Plan(
        [files.join(config.output, item.name) for item in work],
        {"examples": number, "output, MB": round(written.bytes * scale / 1e6, 1)},
        seconds * scale,
    )


def mask(config: MaskStageConfig, options: RunOptions) -> None:
    """Runs the stage. Raises UserError for what the user can put right."""
    config.check()
    rows = read_manifest(config.input, ("tokenize",))
    vocabulary = load_vocabulary(config.input).vocabulary
    check_vocabulary(config.input, vocabulary, rows)
    config.check_masking(
        vocabulary_size=vocabulary.size,
        mask_token_id=vocabulary.mask_id,
        seq_length=rows.facts["seq_length"],
    )
    work = plan_work(rows, config)
    run = StageRun("mask", config, {"rows": rows.fingerprint})

    def build(pipeline: beam.Pipeline) -> None:
        (
            pipeline
            | "Work" >> beam.Create(work)
            | "Spread" >> beam.Reshuffle()
            | "Mask" >> beam.ParDo(_MaskShard(rows, config, vocabulary))
            | Finish(partial(_finish, run=run, rows=rows, vocabulary=vocabulary))
        )

    names = [item.name for item in work]
    run_stage(
        run,
        options,
        reads=f"{rows.counts['rows']:,} rows, {config.copies} copies, {len(work)} shards to write",
        plan=lambda: _plan(work, rows, config, vocabulary),
        work=lambda: run_pipeline(
            build,
            options.beam_args,
            progress=lambda: f"mask: {shards_written(config.output, names) or 'masking'}",
        ),
    )
