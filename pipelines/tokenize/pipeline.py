"""Stage ``tokenize`` as a Beam pipeline.

    blocks of documents -> blocks of token ids -> cut by key(doc_id) mod num_shards
    -> group by shard -> sort by key -> pack -> write that shard -> manifest

Order, packing and bytes depend on keys alone; a worker holds a part of one shard; the shuffle moves
compact arrays, on one machine through files; nothing is read twice.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from itertools import chain
from typing import Any

import apache_beam as beam
import numpy as np
from apache_beam.transforms.window import GlobalWindows
from numpy.typing import NDArray

from pipelines import files
from pipelines.beam_pipeline import count_workers, run_pipeline, runs_here
from pipelines.columns import Columns
from pipelines.command import RunOptions
from pipelines.corpus_config import describe_inputs
from pipelines.documents import DocumentBlock, plan_ranges
from pipelines.errors import UserError
from pipelines.keyed_random import fold, purpose_key, uniform
from pipelines.manifest import (
    Manifest,
    check_balance,
    finish_output,
    prepare_output,
    read_manifest,
    read_run,
)
from pipelines.read_documents import ReadDocuments, check_reading
from pipelines.records import schema_of, token_dtype
from pipelines.report import Finish, Report, add_counts, collect_shards, common_schema
from pipelines.shards import shard_name, write_shard_parts
from pipelines.summary import print_summary
from pipelines.tokenize.config import TokenizeConfig
from pipelines.tokenize.encode import Encoder
from pipelines.tokenize.estimate import estimate_run
from pipelines.tokenize.shard import build_shard
from pipelines.tokenize.token_blocks import (
    BlockFile,
    StoredBlock,
    StoredDocuments,
    TokenBlock,
    join_blocks,
)
from pipelines.vocabulary import Vocabulary
from pipelines.vocabulary_source import load_vocabulary, save_vocabulary

# Tokens that a worker gathers before it cuts them by shard: 16 or 32 MB.
_HELD_TOKENS = 1 << 23


@dataclass(frozen=True)
class Shard:
    """One file to write: the split, its number, and how many shards the split has."""

    split: str
    index: int
    count: int


def plan_shards(config: TokenizeConfig) -> list[Shard]:
    """All shards of the output; the position in this list is the key that Beam groups by."""
    train = [Shard("train", i, config.num_shards) for i in range(config.num_shards)]
    if config.validation_fraction == 0:
        return train
    count = max(1, round(config.num_shards * config.validation_fraction))
    return train + [Shard("validation", i, count) for i in range(count)]


def assign_shards(doc_ids: NDArray[np.uint64], config: TokenizeConfig) -> NDArray[np.int64]:
    """The index in ``plan_shards`` of each document, int64[n]: a function of its id alone."""
    plan = plan_shards(config)
    validation_count = len(plan) - config.num_shards
    draw = fold(purpose_key(config.seed, "shard"), doc_ids)
    shards = (draw % np.uint64(config.num_shards)).astype(np.int64)
    if validation_count:
        held_out = uniform(fold(purpose_key(config.seed, "validation split"), doc_ids))
        beyond = config.num_shards + (draw % np.uint64(validation_count)).astype(np.int64)
        shards = np.where(held_out < config.validation_fraction, beyond, shards)
    return shards


@lru_cache(maxsize=2)
def _shared_encoder(vocabulary: Vocabulary, lowercase: bool, strip_accents: bool) -> Encoder:
    # Threads of one process share the kernel and its tables.
    return Encoder(vocabulary, lowercase, strip_accents)


class _TokenizeBlocks(beam.DoFn):
    """DocumentBlocks -> (shard key, its documents) and, tagged 'reports', what was read and dropped.

    Documents are held until there are enough to be worth cutting by shard. Where the workers share
    this machine's disk, ``folder`` is where their tokens go; Beam then moves only their places.
    """

    def __init__(self, config: TokenizeConfig, vocabulary: Vocabulary, folder: str | None):
        self._config, self._vocabulary, self._folder = config, vocabulary, folder

    def start_bundle(self) -> None:
        self._held: list[TokenBlock] = []
        self._counts: Counter[str] = Counter()
        self._file = None if self._folder is None else BlockFile(self._folder)

    def process(self, element: DocumentBlock) -> Iterator[tuple[int, TokenBlock | StoredBlock]]:
        self._counts.update(element.counts)
        if len(element):
            self._held.append(self._encode(element))
            if sum(len(block.token_ids) for block in self._held) >= _HELD_TOKENS:
                yield from self._cut()

    def finish_bundle(self) -> Iterator[Any]:
        for pair in self._cut():
            yield GlobalWindows.windowed_value(pair)
        if self._file is not None:
            self._file.close()
        report = GlobalWindows.windowed_value(Report(self._counts))
        yield beam.pvalue.TaggedOutput("reports", report)

    def _encode(self, documents: DocumentBlock) -> TokenBlock:
        config, counts = self._config, self._counts
        assert config.lowercase is not None
        assert config.strip_accents is not None
        encoder = _shared_encoder(self._vocabulary, config.lowercase, config.strip_accents)
        token_ids, offsets = encoder.encode_block(documents.text, documents.offsets)
        lengths = np.diff(offsets)
        kept = lengths >= config.min_tokens
        counts["documents_dropped_no_tokens"] += int((lengths == 0).sum())
        short = ~kept & (lengths > 0)
        counts["documents_dropped_short"] += int(short.sum())
        counts["tokens_in"] += int(lengths.sum())
        counts["tokens_dropped_short"] += int(lengths[short].sum())
        narrow = token_ids.astype(token_dtype(self._vocabulary.size))
        block = TokenBlock(narrow, offsets, documents.doc_ids)
        return block if kept.all() else block.take(np.flatnonzero(kept))

    def _cut(self) -> Iterator[tuple[int, TokenBlock | StoredBlock]]:
        """Cuts what is held by shard."""
        if not self._held:
            return
        block = join_blocks(self._held)
        self._held = []
        shards = assign_shards(block.doc_ids, self._config)
        order = np.argsort(shards, kind="stable")
        keys, begins = np.unique(shards[order], return_index=True)
        for key, documents in zip(keys.tolist(), np.split(order, begins[1:]), strict=True):
            part = block.take(documents)
            yield key, part if self._file is None else self._file.append(part)


class _WriteShard(beam.DoFn):
    """(shard key, its documents) -> Report, after writing the shard."""

    def __init__(self, config: TokenizeConfig, vocabulary: Vocabulary):
        self._config, self._vocabulary = config, vocabulary

    def process(self, element: tuple[int, Iterable[TokenBlock | StoredBlock]]) -> Iterator[Report]:
        key, blocks = element
        shard = plan_shards(self._config)[key]
        name = shard_name(shard.split, shard.index, shard.count, self._config.format)
        counts: Counter[str] = Counter()

        def count(parts: Iterable[tuple[Columns, Counter[str]]]) -> Iterator[Columns]:
            for columns, part in parts:
                counts.update(part)
                yield columns

        with tempfile.TemporaryDirectory(prefix="bertmill-") as own:
            parts = count(build_shard(_store(blocks, own), self._config, self._vocabulary))
            first = next(parts)
            schema = schema_of(first)
            info = write_shard_parts(
                self._config.output, name, chain([first], parts), schema, self._config.format
            )
        yield Report(counts, shard.split, info, schema)


def _store(blocks: Iterable[TokenBlock | StoredBlock], folder: str) -> StoredDocuments:
    """The documents of a shard, those that came through Beam stored in a folder of this worker."""
    file = BlockFile(folder)
    stored = [block if isinstance(block, StoredBlock) else file.append(block) for block in blocks]
    file.close()
    return StoredDocuments(stored)


def _finish(
    reports: list[Report],
    config: TokenizeConfig,
    vocabulary: Vocabulary,
    inputs: Any,
    ranges: int,
    started: float,
) -> None:
    """Checks that everything balances, then publishes vocabulary, run.json and manifest."""
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
    manifest = Manifest(
        stage="tokenize",
        config=config.deciding_fields(),
        counts=dict(sorted(counts.items())),
        facts={
            "format": config.format,
            "seq_length": config.seq_length,
            "packing": config.packing,
            "lowercase": config.lowercase,
            "strip_accents": config.strip_accents,
            "vocabulary": vocabulary_facts(vocabulary),
        },
        schema=common_schema(reports),
        splits=splits,
    )
    seconds = time.time() - started
    run = {
        "seconds": round(seconds, 2),
        "megabytes_per_second": round(counts["bytes_in"] / seconds / 1e6, 2),
    }
    save_vocabulary(config.output, vocabulary)
    finish_output(config.output, manifest, inputs, run)


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
        config.deciding_fields(),
        inputs,
        overwrite=options.overwrite,
        stage="tokenize",
    ):
        print(f"tokenize: {config.output} is finished already; nothing to do", file=sys.stderr)
        return

    # Workers on this machine share its disk, next to the output: no shuffle in memory.
    folder = files.temporary_folder(config.output) if runs_here(options.beam_args) else None

    def build(pipeline: beam.Pipeline) -> None:
        tokenized = (
            pipeline
            | ReadDocuments(found, config.read_options())
            | "Tokenize"
            >> beam.ParDo(_TokenizeBlocks(config, vocabulary, folder)).with_outputs(
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
            | "Write" >> beam.ParDo(_WriteShard(config, vocabulary))
        )
        (
            (tokenized.reports, written)
            | "Reports" >> beam.Flatten()
            | Finish(
                partial(
                    _finish,
                    config=config,
                    vocabulary=vocabulary,
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
    workers = count_workers(options.beam_args)
    shuffled = estimate.tokens * np.dtype(token_dtype(vocabulary.size)).itemsize
    shown: dict[str, Any] = {
        "text, MB": round(estimate.text_bytes / 1e6, 1),
        "documents": round(estimate.documents),
        "tokens": round(estimate.tokens),
        "rows": round(estimate.rows),
        "output, MB": round(estimate.output_bytes / 1e6, 1),
        "temporary files, MB": round(shuffled / 1e6, 1),
        "workers": workers,
        "time": f"{estimate.seconds(workers):,.0f} s",
    }
    if options.price is not None:
        shown["price"] = f"{estimate.price(workers, options.price):,.2f}"
    print("estimated from a sample:")
    print_summary(shown)


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
