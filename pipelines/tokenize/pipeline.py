"""Stage ``tokenize`` as a Beam pipeline.

    blocks of documents -> tables of token ids -> cut by key(doc_id) mod num_shards
    -> group by shard -> sort by key -> pack -> write that shard -> manifest

Order, packing and bytes depend on keys alone; a worker holds a part of one shard; the shuffle moves
compact arrays, on one machine through files; nothing is read twice. Labelled texts go the same way.
"""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

import apache_beam as beam
import numpy as np

from pipelines.beam.heartbeat import reading
from pipelines.beam.options import runs_here
from pipelines.beam.runner import Finish, run_pipeline
from pipelines.command.progress import Phase
from pipelines.command.run import RunOptions
from pipelines.documents.config import describe_inputs, paths_read
from pipelines.documents.read_documents import ReadDocuments
from pipelines.documents.sample import sample_input
from pipelines.documents.text_size import advise_on_whole_files, text_bytes
from pipelines.plan import Plan
from pipelines.records.codec import token_dtype
from pipelines.records.ragged import Columns
from pipelines.records.shards import write_shard
from pipelines.records.versions import deciding_versions
from pipelines.stage import Report, StageRun, count_written, row_ratios, run_stage
from pipelines.storage import files
from pipelines.text.vocabulary import Vocabulary
from pipelines.text.vocabulary_source import VOCABULARY_FILE, load_vocabulary, save_vocabulary
from pipelines.tokenize.advice import advise_on_large_shards, advise_on_unknown
from pipelines.tokenize.config import TokenizeConfig
from pipelines.tokenize.encode import Encoder
from pipelines.tokenize.evaluation_texts import read_evaluation
from pipelines.tokenize.find_near_duplicates import FindNearDuplicates
from pipelines.tokenize.near_duplicates import sign_documents
from pipelines.tokenize.publish import LEAKS, NEAR_DUPLICATES, publish_rows
from pipelines.tokenize.shard import CHUNK_TOKENS, build_shard, plan_shards
from pipelines.tokenize.shard_count import count_shards, estimate_id_bytes
from pipelines.tokenize.stored_blocks import store_tables
from pipelines.tokenize.token_tables import empty_table, encode_documents
from pipelines.tokenize.transforms import TokenizeBlocks, WriteShard

# To start a process that writes shards; what that and a worker have in memory, and for each token of
# what is packed at a time. Measured with docs/benchmarks.md's table of estimates.
_WRITER_SECONDS = 0.4
_WORKER_BYTES, _CHUNK_TOKEN_BYTES = 90e6, 12
# The encoder remembers a million words, which so much text of Wikipedia has; less has fewer.
_REMEMBERED_BYTES, _TEXT_BYTES, _POWER = 95e6, 400e6, 0.6
# Beside shards, manifest and run.json.
_MAKES = (VOCABULARY_FILE, LEAKS, NEAR_DUPLICATES)
_SPECIAL_IDS = ("pad_id", "unk_id", "cls_id", "sep_id", "mask_id")


def tokenize(config: TokenizeConfig, options: RunOptions = RunOptions()) -> None:
    """Runs the stage. Raises UserError for what the user can put right."""
    config.check()
    source = load_vocabulary(config.vocab, config.lowercase, config.strip_accents)
    vocabulary = source.vocabulary
    config = replace(config, lowercase=source.lowercase, strip_accents=source.strip_accents)
    matched = config.match_input()
    id_bytes = estimate_id_bytes(text_bytes(matched), vocabulary.size)
    config = replace(config, num_shards=config.num_shards or count_shards(id_bytes))
    documents = ReadDocuments(matched, config.labelled_fields() or config)
    inputs = {"files": describe_inputs(matched), "vocabulary": vocabulary.fingerprint}
    reads = {"input": paths_read(config, matched), "vocab": [config.vocab]}
    excluded = files.match(config.exclude, "exclude") if config.exclude else []
    if excluded:
        inputs["exclude"] = describe_inputs(excluded)
        reads["exclude"] = [*config.exclude, *(info.path for info in excluded)]
    run = StageRun("tokenize", config, inputs, reads, _MAKES, versions=deciding_versions())
    size = sum(info.size for info in matched)

    def plan() -> Plan:
        advise_on_whole_files("tokenize", matched, documents.ranges)
        advise_on_large_shards(config, id_bytes)
        return _plan(matched, config, vocabulary)

    def work(expected: Mapping[str, float]) -> None:
        _run_pipeline(run, documents, vocabulary, excluded, options.beam_args, expected)

    manifest = run_stage(
        run,
        options,
        reads=f"{len(matched)} files, {size / 1e6:,.1f} MB; vocabulary of {vocabulary.size:,} "
        f"(lowercase {config.lowercase}, strip_accents {config.strip_accents}"
        f"{source.note})",
        plan=plan,
        work=work,
        ratios=lambda manifest: row_ratios(manifest) | {"label": manifest.facts.get("labels")},
    )
    if manifest is not None:
        advise_on_unknown(manifest, matched, config, vocabulary)


def _plan(
    matched: Sequence[files.FileInfo], config: TokenizeConfig, vocabulary: Vocabulary
) -> Plan:
    """The shards and, of documents, an estimate: a sample goes through the real steps, and what it
    takes is scaled by the size of the input. Raises UserError if the sample holds no document."""
    writes = [files.join(config.output, shard.name) for shard in plan_shards(config)]
    if config.packing == "examples":
        return Plan(writes)
    encoder = Encoder(vocabulary, bool(config.lowercase), bool(config.strip_accents))
    encoder.encode(["start up, which is not counted"])
    counts: Counter[str] = Counter()
    tables: list[Columns] = []
    sample = sample_input(matched, config)
    began = time.thread_time()
    for block in sample.blocks:
        table, encoded = encode_documents(block, encoder, config)
        counts.update(encoded)
        tables.append(table)
        if config.deduplicate == "near":
            sign_documents(table, config.near_similarity, config.near_bands)
    with tempfile.TemporaryDirectory(prefix="bertmill-") as folder:
        parts = build_shard(
            store_tables(tables, folder), config, vocabulary, np.zeros(0, np.uint64)
        )
        shard, _ = write_shard(folder, "sample", (rows for rows, _ in parts), config.format)
    seconds = (time.thread_time() - began) * sample.scale
    token_bytes = np.dtype(token_dtype(vocabulary.size)).itemsize
    tokens = counts["tokens_in"] * sample.scale
    amounts = {
        **{name: sample.counts[name] for name in ("documents_in", "bytes_in")},
        "tokens_in": tokens,
        "rows": shard.records * sample.scale,
        "bytes_out": shard.bytes * sample.scale,
        "bytes_between": tokens * token_bytes,
    }
    of_shard = min(tokens / config.train_shards, CHUNK_TOKENS)
    return Plan(
        writes,
        amounts,
        sample.read_seconds + seconds,
        worker_seconds=_WRITER_SECONDS,
        worker_bytes=_WORKER_BYTES
        + _REMEMBERED_BYTES * min(1.0, sample.counts["bytes_in"] / _TEXT_BYTES) ** _POWER
        + _CHUNK_TOKEN_BYTES * of_shard,
    )


def _run_pipeline(
    run: StageRun,
    documents: ReadDocuments,
    vocabulary: Vocabulary,
    excluded: Sequence[files.FileInfo],
    beam_args: Sequence[str],
    expected: Mapping[str, float],
) -> None:
    config: TokenizeConfig = run.config
    # Where every worker finds it; the output is not finished before its manifest is there.
    save_vocabulary(config.output, vocabulary)
    files.delete(files.join(config.output, name) for name in (LEAKS, NEAR_DUPLICATES))
    evaluation = _put_evaluation(excluded, config, vocabulary) if excluded else None
    shards = [shard.name for shard in plan_shards(config)]
    ids = {name: getattr(vocabulary, name) for name in _SPECIAL_IDS}
    facts = {"fingerprint": vocabulary.fingerprint, "size": vocabulary.size, **ids}
    publish = partial(
        publish_rows,
        run=run,
        vocabulary=facts,
        ranges=len(documents.ranges),
        evaluation=evaluation,
    )

    def build(pipeline: beam.Pipeline) -> None:
        keys = range(len(shards))
        reports = write_shards(pipeline, documents, config, vocabulary, folder, keys, evaluation)
        _ = reports | Finish(publish)

    def progress(counted: Counter[str]) -> Phase:
        written = count_written(config.output, shards)
        if written or counted["ranges"] == len(documents.ranges):
            note = f"{counted['documents']:,} documents read" if counted["documents"] else ""
            return Phase("tokenize: writing", written, len(shards), "shards", note)
        return reading("tokenize", counted, expected.get("bytes_in", 0))

    # Workers on this machine share its disk, next to the output: no shuffle in memory.
    here = runs_here(beam_args)
    try:
        with files.temporary_folder(config.output) if here else nullcontext() as folder:
            run_pipeline(build, beam_args, progress)
    finally:
        files.delete([evaluation] if evaluation else [])


def _put_evaluation(
    excluded: Sequence[files.FileInfo], config: TokenizeConfig, vocabulary: Vocabulary
) -> str:
    """The path of a temporary file of the evaluation texts, where every worker finds it."""
    encoder = Encoder(vocabulary, bool(config.lowercase), bool(config.strip_accents))
    paths = [info.path for info in excluded]
    texts = read_evaluation(paths, config.exclude_field, config.exclude_tokens, encoder, "exclude")
    path = files.join(config.output, f"{files.TEMPORARY}{texts.fingerprint}.npz")
    files.publish_bytes(path, texts.to_bytes())
    return path


def write_shards(
    pipeline: beam.Pipeline,
    documents: ReadDocuments,
    config: TokenizeConfig,
    vocabulary: Vocabulary,
    folder: str | None,
    keys: Sequence[int],
    evaluation: str | None = None,
) -> beam.PCollection[Report]:
    """The pipeline from documents to the shards with these keys, in ``config.output``, and what it
    reports. ``folder`` and ``evaluation`` as for ``TokenizeBlocks``."""
    # An empty table for every shard: one without documents is written too.
    seeds = [(key, empty_table(config, vocabulary)) for key in keys]
    tokenize_blocks = TokenizeBlocks(
        config, vocabulary.fingerprint, folder, frozenset(keys), evaluation
    )
    to_files = WriteShard(config, vocabulary.fingerprint, apart=folder is not None)
    tokenized = (
        pipeline
        | documents
        | "Tokenize"
        >> beam.ParDo(tokenize_blocks).with_outputs("reports", "documents", main="tables")
    )
    for_shards = [tokenized.tables, pipeline | "Keys" >> beam.Create(seeds)]
    reports = [tokenized.reports]
    if config.deduplicate == "near":
        dropped, found = tokenized.documents | FindNearDuplicates(config, folder)
        # Those of other shards than are written here have nobody to read them.
        for_shards.append(dropped | "Own" >> beam.Filter(lambda keyed, own: keyed[0] in own, keys))
        reports.append(found)
    written = (
        for_shards
        | "All" >> beam.Flatten()
        | "Typed" >> beam.Map(lambda pair: pair).with_output_types(tuple[int, Any])
        | "ByShard" >> beam.GroupByKey()
        | "Write" >> beam.ParDo(to_files)
    )
    return (*reports, written) | "Reports" >> beam.Flatten()
