"""Stage ``tokenize`` for labelled examples as a Beam pipeline.

    files -> blocks of encoded examples -> cut by key(doc_id) mod num_shards
    -> group by shard -> sort by key -> write that shard -> manifest

As for documents, every byte depends on the examples and the config alone. An example is its text (or
two texts) and its label; the same one twice in the input stands in the output twice.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import apache_beam as beam
import numpy as np

from pipelines import files
from pipelines.beam_pipeline import run_pipeline
from pipelines.command import RunOptions
from pipelines.documents.config import describe_inputs
from pipelines.documents.labelled import Fields, LabelledTexts, read_file
from pipelines.errors import UserError
from pipelines.options import deciding_fields
from pipelines.records.codec import schema_of
from pipelines.records.manifest import (
    check_balance,
    finish_output,
    prepare_output,
    read_manifest,
    read_run,
)
from pipelines.records.ragged import Columns, Ragged, take
from pipelines.records.shards import shard_name, write_shard
from pipelines.report import Finish, Report, add_counts, collect_shards
from pipelines.summary import print_summary
from pipelines.text.vocabulary_source import load_vocabulary, save_vocabulary
from pipelines.tokenize.config import TokenizeConfig
from pipelines.tokenize.pack_labelled import build_examples, encode_examples, labels_of
from pipelines.tokenize.pipeline import make_manifest, vocabulary_facts
from pipelines.tokenize.plan import assign_shards, plan_shards
from pipelines.tokenize.transforms import fetch_vocabulary, shared_encoder

# Examples that move through the shuffle together.
_BLOCK = 8192
# More labels than this are numbers rather than classes, and the manifest does not list them.
_MOST_LABELS = 1000
_LABEL, _FILES = "label=", "files_read"


class ReadExamples(beam.DoFn):
    """A file -> (shard key, its encoded examples) and, tagged 'reports', what was read."""

    def __init__(self, config: TokenizeConfig, fingerprint: str):
        self._config, self._fingerprint = config, fingerprint

    def process(self, element: str) -> Iterator[Any]:
        config = self._config
        encoder = shared_encoder(config, fetch_vocabulary(config.output, self._fingerprint))
        data = read_file(element, fields_of(config), "input")
        counts: Counter[str] = Counter({_FILES: 1, "documents_in": 0})
        for start in range(0, len(data), _BLOCK):
            part = data.select(range(start, min(start + _BLOCK, len(data))))
            columns, found = encode_examples(part, encoder, config.seq_length)
            counts.update(found)
            yield from _cut(columns, config)
        yield beam.pvalue.TaggedOutput("reports", Report(counts))


class WriteExamples(beam.DoFn):
    """(shard key, its blocks of examples) -> Report, after writing the shard."""

    def __init__(self, config: TokenizeConfig, fingerprint: str):
        self._config, self._fingerprint = config, fingerprint

    def process(self, element: tuple[int, Iterable[Columns]]) -> Iterator[Report]:
        config, (key, blocks) = self._config, element
        columns, counts = build_examples([*blocks, self._no_examples()], config.seed)
        labels = Counter(labels_of(columns))
        counts.update({f"{_LABEL}{name}": count for name, count in sorted(labels.items())})
        shard = plan_shards(config)[key]
        name = shard_name(shard.split, shard.index, shard.count, config.format)
        schema = schema_of(columns)
        info = write_shard(config.output, name, columns, schema, config.format)
        yield Report(counts, shard.split, info, schema)

    def _no_examples(self) -> Columns:
        """Gives a shard that nothing fell into its columns."""
        config = self._config
        vocabulary = fetch_vocabulary(config.output, self._fingerprint)
        pairs: list[str] | None = [] if config.text_pair_field else None
        nothing = LabelledTexts([], pairs, [], [])
        return encode_examples(nothing, shared_encoder(config, vocabulary), config.seq_length)[0]


def fields_of(config: TokenizeConfig) -> Fields:
    """Where text, second text and label stand."""
    return Fields(config.text_field, config.text_pair_field or "", config.label_field or "")


def _cut(columns: Columns, config: TokenizeConfig) -> Iterator[tuple[int, Columns]]:
    owners = columns["doc_ids"]
    assert isinstance(owners, Ragged)
    if not len(owners):
        return
    shards = assign_shards(owners.values[owners.offsets[:-1]], config)
    for key in np.unique(shards).tolist():
        yield key, take(columns, np.flatnonzero(shards == key))


def tokenize_examples(config: TokenizeConfig, options: RunOptions) -> None:
    """Runs the stage for a checked config. Raises UserError for what the user can put right."""
    started = time.time()
    source = load_vocabulary(config.vocab, config.lowercase, config.strip_accents)
    vocabulary = source.vocabulary
    config = replace(config, lowercase=source.lowercase, strip_accents=source.strip_accents)
    found = config.match_input()
    inputs = {"files": describe_inputs(found), "vocabulary": vocabulary.fingerprint}
    print(
        f"tokenize: {len(found)} files of labelled examples; vocabulary of {vocabulary.size:,} "
        f"(lowercase {config.lowercase}, strip_accents {config.strip_accents})",
        file=sys.stderr,
    )
    if options.dry_run:
        for shard in plan_shards(config):
            name = shard_name(shard.split, shard.index, shard.count, config.format)
            print(f"would write {files.join(config.output, name)}")
        return
    decide = deciding_fields(config)
    if prepare_output(config.output, decide, inputs, overwrite=options.overwrite, stage="tokenize"):
        print(f"tokenize: {config.output} is finished already; nothing to do", file=sys.stderr)
        return
    save_vocabulary(config.output, vocabulary)
    finish = partial(
        _finish,
        config=config,
        vocabulary=vocabulary_facts(vocabulary),
        inputs=inputs,
        planned=len(found),
        started=started,
    )

    def build(pipeline: beam.Pipeline) -> None:
        read = (
            pipeline
            | "Files" >> beam.Create([info.path for info in found])
            | "Spread" >> beam.Reshuffle()
            | "Read"
            >> beam.ParDo(ReadExamples(config, vocabulary.fingerprint)).with_outputs(
                "reports", main="blocks"
            )
        )
        # Every key once, so that a shard without examples is written too.
        keys = pipeline | "Keys" >> beam.Create(
            [(key, None) for key in range(len(plan_shards(config)))]
        )
        written = (
            (read.blocks, keys)
            | "All" >> beam.Flatten()
            | "Typed" >> beam.Map(lambda pair: pair).with_output_types(tuple[int, Any])
            | "ByShard" >> beam.GroupByKey()
            | "Present" >> beam.MapTuple(lambda key, blocks: (key, [b for b in blocks if b]))
            | "Write" >> beam.ParDo(WriteExamples(config, vocabulary.fingerprint))
        )
        (read.reports, written) | "Reports" >> beam.Flatten() | Finish(finish)

    run_pipeline(build, options.beam_args, progress=lambda: "tokenize: reading examples")
    manifest = read_manifest(config.output)
    labels = {f"label {name}": count for name, count in manifest.facts["labels"].items()}
    print_summary(manifest.counts, labels, read_run(config.output), [("output", config.output)])


def _finish(
    reports: Sequence[Report],
    config: TokenizeConfig,
    vocabulary: dict[str, Any],
    inputs: Any,
    planned: int,
    started: float,
) -> None:
    """Checks that everything balances, then publishes run.json and the manifest."""
    counts = Counter(add_counts(reports))
    check_balance({**counts, "planned": planned}, "files", "planned", (_FILES,))
    del counts[_FILES]  # It depends on how the input is cut into files.
    labels = {n.removeprefix(_LABEL): c for n, c in counts.items() if n.startswith(_LABEL)}
    counts = Counter({n: c for n, c in counts.items() if not n.startswith(_LABEL)})
    check_balance(counts, "documents", "documents_in", ("documents_out", "documents_dropped_*"))
    check_balance(counts, "tokens", "tokens_in", ("tokens_out", "tokens_dropped_*"))
    check_balance(
        {**counts, "labels": sum(labels.values())}, "labels", "labels", ("documents_out",)
    )
    if not counts["documents_out"]:
        raise UserError(
            f"no examples to tokenize: read {counts['documents_in']:,}, all without text; "
            "check --input and --text_field"
        )
    splits = collect_shards(reports)
    counts["rows"] = sum(shard.records for shards in splits.values() for shard in shards)
    manifest = make_manifest(
        config,
        counts,
        vocabulary,
        reports,
        splits,
        labels=labels if len(labels) <= _MOST_LABELS else {},
    )
    finish_output(config.output, manifest, inputs, {"seconds": round(time.time() - started, 2)})
