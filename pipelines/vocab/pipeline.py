"""Stage ``vocab`` as a Beam pipeline.

    blocks of documents -> words counted in the worker -> tables cut by word -> one sum per word
    -> the most frequent words -> one learner on arrays -> vocab.txt, manifest

Counts are 64-bit and every cut has a total order, so neither the workers nor the order of the input
can change the result.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import apache_beam as beam
import numpy as np

from pipelines import files
from pipelines.beam_pipeline import run_pipeline
from pipelines.command import RunOptions
from pipelines.corpus_config import describe_inputs
from pipelines.documents import DocumentBlock, plan_ranges
from pipelines.errors import UserError
from pipelines.manifest import (
    Manifest,
    check_balance,
    finish_output,
    prepare_output,
    read_manifest,
    read_run,
)
from pipelines.read_documents import ReadDocuments, check_reading
from pipelines.report import Finish, Report, add_counts
from pipelines.summary import print_summary
from pipelines.text import count_block_words
from pipelines.vocab.config import VocabConfig
from pipelines.vocab.learn import LearnedVocabulary, learn_wordpiece
from pipelines.vocab.tf_text_learn import learn_tf_text
from pipelines.vocab.word_table import WordTable, add_tables, cut_by_word, most_frequent
from pipelines.vocabulary_source import VOCABULARY_FILE

# A worker hands its counts on when it holds this many distinct words.
_FLUSH_WORDS = 2_000_000


class _CountWords(beam.DoFn):
    """DocumentBlock -> (partition, WordTable), once per bundle, and tagged 'reports'."""

    def __init__(self, lowercase: bool, strip_accents: bool):
        self._lowercase, self._strip_accents = lowercase, strip_accents

    def start_bundle(self) -> None:
        self._words: Counter[str] = Counter()

    def process(self, element: DocumentBlock) -> Iterator[Any]:
        counts = Counter(element.counts)
        counts["documents_out"] = len(element)
        if len(element):
            words, word_counts = count_block_words(
                np.frombuffer(element.text, np.uint8),
                element.offsets,
                lowercase=self._lowercase,
                strip_accents=self._strip_accents,
            )
            counts["words_in"] = int(word_counts.sum())
            for word, count in zip(words, word_counts.tolist(), strict=True):
                self._words[word] += count
        yield beam.pvalue.TaggedOutput("reports", Report(counts))
        if len(self._words) > _FLUSH_WORDS:
            yield from cut_by_word(self._words).items()
            self._words = Counter()

    def finish_bundle(self) -> Iterator[Any]:
        from apache_beam.transforms.window import GlobalWindow
        from apache_beam.utils.windowed_value import WindowedValue

        window = GlobalWindow()
        for part in cut_by_word(self._words).items():
            yield WindowedValue(part, window.max_timestamp(), (window,))


class _AddUp(beam.DoFn):
    """(partition, tables) -> WordTable of its most frequent words, and Report of those cut."""

    def __init__(self, limit: int):
        self._limit = limit

    def process(self, element: tuple[int, Iterable[WordTable]]) -> Iterator[Any]:
        total = add_tables(element[1])
        # A word outside the first ``limit`` of its partition is outside those of all partitions.
        words, counts = most_frequent(total, self._limit)
        cut = Counter(words_dropped_rare=sum(total.values()) - int(counts.sum()))
        yield beam.pvalue.TaggedOutput("reports", Report(cut))
        yield WordTable.of(words, counts.tolist())


def _finish(
    elements: list[Any], config: VocabConfig, inputs: Any, ranges: int, started: float
) -> None:
    """Learns from the gathered tables, checks the balance and publishes."""
    reports = [element for element in elements if isinstance(element, Report)]
    total = add_tables(element for element in elements if isinstance(element, WordTable))
    words, word_counts = most_frequent(total, config.max_input_tokens)
    counts = Counter(add_counts(reports))
    check_reading(counts, ranges)
    counts["words_dropped_rare"] += sum(total.values()) - int(word_counts.sum())
    counts["words_counted"] = int(word_counts.sum())
    counts["distinct_words"] = len(words)
    check_balance(counts, "documents", "documents_in", ("documents_out", "documents_dropped_*"))
    check_balance(counts, "words", "words_in", ("words_counted", "words_dropped_rare"))
    if not words:
        raise UserError(
            f"no words to learn from: read {counts['documents_in']} documents in "
            f"{', '.join(config.input)}; check --input, --input_format and --text_field"
        )
    learned = learn_pieces(words, word_counts, config)
    tokens = "\n".join([*learned.tokens, ""])
    manifest = Manifest(
        stage="vocab",
        config=config.deciding_fields(),
        counts=dict(sorted(counts.items())),
        facts={
            "lowercase": config.lowercase,
            "strip_accents": config.strip_accents,
            "size": len(learned.tokens),
            **describe_learned(learned, config),
        },
    )
    seconds = time.time() - started
    run = {
        "seconds": round(seconds, 2),
        "megabytes_per_second": round(counts["bytes_in"] / seconds / 1e6, 2),
    }
    files.publish_bytes(files.join(config.output, VOCABULARY_FILE), tokens.encode())
    finish_output(config.output, manifest, inputs, run)


def describe_learned(learned: LearnedVocabulary, config: VocabConfig) -> dict[str, Any]:
    """What the manifest says of how the vocabulary came about."""
    return {
        "asked_size": config.vocab_size,
        "threshold": learned.threshold,
        "alphabet": len(learned.alphabet),
        "alphabet_dropped": len(learned.alphabet_dropped),
        "distinct_words_cut": learned.words_cut,
        "words_cut": learned.occurrences_cut,
        "reason_smaller": learned.reason_smaller,
    }


def learn_pieces(words: list[str], counts: Any, config: VocabConfig) -> LearnedVocabulary:
    """Runs the algorithm that the config names."""
    common: dict[str, Any] = {
        "vocab_size": config.vocab_size,
        "reserved_tokens": config.reserved_tokens,
        "max_input_tokens": config.max_input_tokens,
        "max_token_length": config.max_token_length,
        "max_unique_chars": config.max_unique_chars,
    }
    if config.algorithm == "tf_text":
        return learn_tf_text(words, counts, joiner=config.suffix_indicator, **common)
    return learn_wordpiece(words, counts, suffix_indicator=config.suffix_indicator, **common)


def learn_vocabulary(config: VocabConfig, options: RunOptions) -> None:
    """Runs the stage. Raises UserError for what the user can put right."""
    started = time.time()
    config.check()
    if config.strip_accents is None:
        config = replace(config, strip_accents=config.lowercase)
    found = config.match_input()
    ranges = len(plan_ranges(found, config.read_options()))
    inputs = {"files": describe_inputs(found)}
    size = sum(info.size for info in found)
    print(f"vocab: {len(found)} files, {size / 1e6:,.1f} MB", file=sys.stderr)
    if options.dry_run:
        print(f"would write {files.join(config.output, VOCABULARY_FILE)}")
        return
    if prepare_output(
        config.output, config.deciding_fields(), inputs, overwrite=options.overwrite, stage="vocab"
    ):
        print(f"vocab: {config.output} is finished already; nothing to do", file=sys.stderr)
        return

    def build(pipeline: beam.Pipeline) -> None:
        counted = (
            pipeline
            | ReadDocuments(found, config.read_options())
            | "Count"
            >> beam.ParDo(_CountWords(config.lowercase, bool(config.strip_accents))).with_outputs(
                "reports", main="tables"
            )
        )
        added = (
            counted.tables
            | "Typed" >> beam.Map(lambda pair: pair).with_output_types(tuple[int, WordTable])
            | "ByPart" >> beam.GroupByKey()
            | "Add"
            >> beam.ParDo(_AddUp(config.max_input_tokens)).with_outputs("reports", main="tables")
        )
        (
            (counted.reports, added.reports, added.tables)
            | beam.Flatten()
            | Finish(partial(_finish, config=config, inputs=inputs, ranges=ranges, started=started))
        )

    run_pipeline(build, options.beam_args, progress=lambda: "vocab: counting words and learning")
    manifest = read_manifest(config.output)
    print_summary(
        manifest.counts, manifest.facts, read_run(config.output), [("output", config.output)]
    )
