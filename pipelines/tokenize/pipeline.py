"""Stage ``tokenize`` as a Beam pipeline.

    blocks of documents -> tables of token ids -> cut by key(doc_id) mod num_shards
    -> group by shard -> sort by key -> pack -> write that shard -> manifest

Order, packing and bytes depend on keys alone; a worker holds a part of one shard; the shuffle moves
compact arrays, on one machine through files; nothing is read twice. Labelled texts go the same way.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections import Counter
from dataclasses import replace
from functools import partial
from typing import Any

import apache_beam as beam

from pipelines import files
from pipelines.beam_pipeline import count_workers, run_pipeline, runs_here
from pipelines.command import RunOptions
from pipelines.documents.config import describe_inputs
from pipelines.documents.read_documents import ReadDocuments, check_reading
from pipelines.documents.sample import print_estimate
from pipelines.errors import UserError
from pipelines.options import deciding_fields
from pipelines.records.manifest import (
    Manifest,
    check_balance,
    finish_output,
    prepare_output,
    read_manifest,
    read_run,
)
from pipelines.report import Finish, Report, add_counts, collect_shards, common_schema
from pipelines.summary import print_summary
from pipelines.text.vocabulary import Vocabulary
from pipelines.text.vocabulary_source import load_vocabulary, save_vocabulary
from pipelines.tokenize.config import TokenizeConfig
from pipelines.tokenize.estimate import estimate_run
from pipelines.tokenize.shard import plan_shards
from pipelines.tokenize.token_tables import empty_table
from pipelines.tokenize.transforms import TokenizeBlocks, WriteShard

# More labels than this are numbers rather than classes, and the manifest does not list them.
_MOST_LABELS = 1000


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
    check_balance(counts, "documents", "documents_in", ("documents_out", "documents_dropped_*"))
    check_balance(counts, "tokens", "tokens_in", ("tokens_out", "tokens_dropped_*"))
    _check_any_documents(counts, config)
    splits = collect_shards(reports)
    counts["rows"] = sum(shard.records for shards in splits.values() for shard in shards)
    facts = {
        "format": config.format,
        "seq_length": config.seq_length,
        "packing": config.packing,
        "lowercase": config.lowercase,
        "strip_accents": config.strip_accents,
        "vocabulary": vocabulary,
    }
    if config.packing == "examples":
        facts["labels"] = _add_labels(reports, counts["documents_out"])
    manifest = Manifest(
        stage="tokenize",
        config=deciding_fields(config),
        counts=dict(sorted(counts.items())),
        facts=facts,
        schema=common_schema(reports),
        splits=splits,
    )
    seconds = time.time() - started
    run = {"seconds": round(seconds, 2)}
    if counts["bytes_in"]:
        run["megabytes_per_second"] = round(counts["bytes_in"] / seconds / 1e6, 2)
    finish_output(config.output, manifest, inputs, run)


def _check_any_documents(counts: Counter[str], config: TokenizeConfig) -> None:
    if counts["documents_out"]:
        return
    dropped = [
        f"{name.removeprefix('documents_dropped_')} {count}"
        for name, count in counts.items()
        if name.startswith("documents_dropped_") and count
    ]
    labelled = config.packing == "examples"
    raise UserError(
        f"no {'examples' if labelled else 'documents'} to tokenize: "
        f"read {counts['documents_in']}"
        + (f", dropped {', '.join(dropped)}" if dropped else "")
        + f"; check --input{'' if labelled else ', --input_format'} and --text_field"
    )


def _add_labels(reports: list[Report], rows: int) -> dict[str, int]:
    """How many rows have which label; none where they are numbers rather than classes."""
    labels: Counter[str] = Counter()
    for report in reports:
        labels.update(report.labels)
    check_balance({"labels": labels.total(), "rows": rows}, "labels", "labels", ("rows",))
    return dict(labels) if len(labels) <= _MOST_LABELS else {}


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
    source = load_vocabulary(config.vocab, config.lowercase, config.strip_accents)
    vocabulary = source.vocabulary
    config = replace(config, lowercase=source.lowercase, strip_accents=source.strip_accents)
    found = config.match_input()
    documents = ReadDocuments(found, config.labelled_fields() or config.read_options())
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
            | documents
            | "Tokenize"
            >> beam.ParDo(TokenizeBlocks(config, vocabulary.fingerprint, folder)).with_outputs(
                "reports", main="blocks"
            )
        )
        # An empty table for every key: a shard without documents is written too.
        keys = range(len(plan_shards(config)))
        seeds = [(key, empty_table(config, vocabulary)) for key in keys]
        written = (
            (tokenized.blocks, pipeline | "Keys" >> beam.Create(seeds))
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
                    ranges=len(documents.ranges),
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
    """What would be written and, of documents, how large, how long it takes and what it costs."""
    for shard in plan_shards(config):
        print(f"would write {files.join(config.output, shard.name)}")
    if config.packing != "examples":
        amounts, core_seconds = estimate_run(found, config, vocabulary)
        workers = count_workers(options.beam_args)
        print_estimate(amounts, core_seconds, workers, options.price)


def _written(config: TokenizeConfig) -> str:
    shards = plan_shards(config)
    done = sum(files.exists(files.join(config.output, shard.name)) for shard in shards)
    return f"{done} of {len(shards)} shards written" if done else "reading and tokenizing"


def _print_summary(config: TokenizeConfig) -> None:
    manifest = read_manifest(config.output)
    counts = manifest.counts
    used = counts["tokens_out"] + counts["special_tokens"]
    fill = f"{used / (counts['rows'] * config.seq_length):.2%}"
    size = sum(shard.bytes for shards in manifest.splits.values() for shard in shards)
    ratios = {"fill": fill, "bytes a token": f"{size / used:.3f}"}
    labels = {"label": manifest.facts.get("labels", {})}
    print_summary(counts, ratios, labels, read_run(config.output), [("output", config.output)])
