"""Stage ``tokenize`` as a Beam pipeline.

    blocks of documents -> blocks of token ids -> cut by key(doc_id) mod num_shards
    -> group by shard -> sort by key -> pack -> write that shard -> manifest

Order, packing and bytes depend on keys alone; a worker holds a part of one shard; the shuffle moves
compact arrays, on one machine through files; nothing is read twice.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import apache_beam as beam
import numpy as np

from pipelines import files
from pipelines.beam_pipeline import count_workers, run_pipeline, runs_here
from pipelines.command import RunOptions
from pipelines.documents.blocks import plan_ranges
from pipelines.documents.config import describe_inputs
from pipelines.documents.read_documents import ReadDocuments, check_reading
from pipelines.documents.sample import print_estimate
from pipelines.errors import UserError
from pipelines.options import deciding_fields
from pipelines.records.codec import token_dtype
from pipelines.records.manifest import (
    Manifest,
    check_balance,
    finish_output,
    prepare_output,
    read_manifest,
    read_run,
)
from pipelines.records.shards import shard_name
from pipelines.report import Finish, Report, add_counts, collect_shards, common_schema
from pipelines.summary import print_summary
from pipelines.text.vocabulary import Vocabulary
from pipelines.text.vocabulary_source import load_vocabulary, save_vocabulary
from pipelines.tokenize.config import TokenizeConfig
from pipelines.tokenize.estimate import estimate_run
from pipelines.tokenize.plan import plan_shards
from pipelines.tokenize.stored_blocks import TokenBlock
from pipelines.tokenize.transforms import TokenizeBlocks, WriteShard


def _finish(
    reports: list[Report],
    config: TokenizeConfig,
    vocabulary: dict[str, Any],
    inputs: Any,
    ranges: int,
    started: float,
) -> None:
    """Checks that everything balances, then publishes run.json and the manifest."""
    counts = Counter(add_counts(reports))
    check_reading(counts, ranges)
    splits = collect_shards(reports)
    check_balance(counts, "documents", "documents_in", ("documents_out", "documents_dropped_*"))
    check_balance(counts, "tokens", "tokens_in", ("tokens_out", "tokens_dropped_*"))
    if counts.get("documents_out", 0) == 0:
        dropped = ", ".join(
            f"{name.removeprefix('documents_dropped_')} {count}"
            for name, count in counts.items()
            if name.startswith("documents_dropped_") and count
        )
        raise UserError(
            f"no documents to tokenize: read {counts.get('documents_in', 0)}"
            + (f", dropped {dropped}" if dropped else "")
            + "; check --input, --input_format and --text_field"
        )
    counts["rows"] = sum(shard.records for shards in splits.values() for shard in shards)
    manifest = make_manifest(config, counts, vocabulary, reports, splits)
    seconds = time.time() - started
    run = {
        "seconds": round(seconds, 2),
        "megabytes_per_second": round(counts["bytes_in"] / seconds / 1e6, 2),
    }
    finish_output(config.output, manifest, inputs, run)


def make_manifest(
    config: TokenizeConfig,
    counts: Counter[str],
    vocabulary: dict[str, Any],
    reports: Sequence[Report],
    splits: Any,
    **more_facts: Any,
) -> Manifest:
    """The manifest of the stage, whatever its rows are made of."""
    return Manifest(
        stage="tokenize",
        config=deciding_fields(config),
        counts=dict(sorted(counts.items())),
        facts={
            "format": config.format,
            "seq_length": config.seq_length,
            "packing": config.packing,
            "lowercase": config.lowercase,
            "strip_accents": config.strip_accents,
            "vocabulary": vocabulary,
            **more_facts,
        },
        schema=common_schema(reports),
        splits=splits,
    )


def vocabulary_facts(vocabulary: Vocabulary) -> dict[str, Any]:
    """What the manifest says of the vocabulary: later stages must agree with it."""
    return {
        "fingerprint": vocabulary.fingerprint,
        "size": vocabulary.size,
        "pad_id": vocabulary.pad_id,
        "unk_id": vocabulary.unk_id,
        "cls_id": vocabulary.cls_id,
        "sep_id": vocabulary.sep_id,
        "mask_id": vocabulary.mask_id,
    }


def tokenize(config: TokenizeConfig, options: RunOptions) -> None:
    """Runs the stage. Raises UserError for what the user can put right."""
    started = time.time()
    config.check()
    if config.packing == "examples":
        from pipelines.tokenize.examples_pipeline import tokenize_examples

        tokenize_examples(config, options)
        return
    source = load_vocabulary(config.vocab, config.lowercase, config.strip_accents)
    vocabulary = source.vocabulary
    config = replace(config, lowercase=source.lowercase, strip_accents=source.strip_accents)
    found = config.match_input()
    ranges = len(plan_ranges(found, config.read_options()))
    inputs = {"files": describe_inputs(found), "vocabulary": vocabulary.fingerprint}
    size = sum(info.size for info in found)
    print(
        f"tokenize: {len(found)} files, {size / 1e6:,.1f} MB; vocabulary of {vocabulary.size:,} "
        f"(lowercase {config.lowercase}, strip_accents {config.strip_accents})",
        file=sys.stderr,
    )
    if options.dry_run:
        _show_plan(found, config, vocabulary, options)
        return
    if prepare_output(
        config.output,
        deciding_fields(config),
        inputs,
        overwrite=options.overwrite,
        stage="tokenize",
    ):
        print(f"tokenize: {config.output} is finished already; nothing to do", file=sys.stderr)
        return

    # Where every worker finds it; the output is not finished before its manifest is there.
    save_vocabulary(config.output, vocabulary)
    # Workers on this machine share its disk, next to the output: no shuffle in memory.
    folder = files.temporary_folder(config.output) if runs_here(options.beam_args) else None

    def build(pipeline: beam.Pipeline) -> None:
        tokenized = (
            pipeline
            | ReadDocuments(found, config.read_options())
            | "Tokenize"
            >> beam.ParDo(TokenizeBlocks(config, vocabulary.fingerprint, folder)).with_outputs(
                "reports", main="blocks"
            )
        )
        keys = range(len(plan_shards(config)))
        # An empty block for every key: a shard without documents is written too.
        seeds = pipeline | "Keys" >> beam.Create(
            [(key, TokenBlock.empty(vocabulary.size)) for key in keys]
        )
        written = (
            (tokenized.blocks, seeds)
            | "All" >> beam.Flatten()
            | "Typed" >> beam.Map(lambda pair: pair).with_output_types(tuple[int, Any])
            | "ByShard" >> beam.GroupByKey()
            | "Write"
            >> beam.ParDo(WriteShard(config, vocabulary.fingerprint, apart=folder is not None))
        )
        (
            (tokenized.reports, written)
            | "Reports" >> beam.Flatten()
            | Finish(
                partial(
                    _finish,
                    config=config,
                    vocabulary=vocabulary_facts(vocabulary),
                    inputs=inputs,
                    ranges=ranges,
                    started=started,
                )
            )
        )

    try:
        run_pipeline(build, options.beam_args, progress=lambda: f"tokenize: {_written(config)}")
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
    _print_summary(config)


def _show_plan(
    found: list[files.FileInfo],
    config: TokenizeConfig,
    vocabulary: Vocabulary,
    options: RunOptions,
) -> None:
    """What would be written, how large, how long it takes and how dear."""
    for shard in plan_shards(config):
        name = shard_name(shard.split, shard.index, shard.count, config.format)
        print(f"would write {files.join(config.output, name)}")
    estimate = estimate_run(found, config, vocabulary)
    shuffled = estimate.tokens * np.dtype(token_dtype(vocabulary.size)).itemsize
    shown: dict[str, Any] = {
        "text, MB": round(estimate.text_bytes / 1e6, 1),
        "documents": round(estimate.documents),
        "tokens": round(estimate.tokens),
        "rows": round(estimate.rows),
        "output, MB": round(estimate.output_bytes / 1e6, 1),
        "temporary files, MB": round(shuffled / 1e6, 1),
    }
    workers = count_workers(options.beam_args)
    print_estimate(shown, estimate.core_seconds, workers, options.price)


def _written(config: TokenizeConfig) -> str:
    names = plan_shards(config)
    done = sum(
        files.exists(
            files.join(config.output, shard_name(s.split, s.index, s.count, config.format))
        )
        for s in names
    )
    return f"{done} of {len(names)} shards written" if done else "reading and tokenizing"


def _print_summary(config: TokenizeConfig) -> None:
    manifest = read_manifest(config.output)
    counts = manifest.counts
    used = counts["tokens_out"] + counts["special_tokens"]
    fill = f"{used / (counts['rows'] * config.seq_length):.2%}"
    size = sum(shard.bytes for shards in manifest.splits.values() for shard in shards)
    ratios = {"fill": fill, "bytes a token": f"{size / used:.3f}"}
    print_summary(counts, ratios, read_run(config.output), [("output", config.output)])
