"""Counting words with Beam: blocks of documents to one list of words and their counts.

    words counted in the worker, as long as its memory lasts -> tables cut by word -> one sum per
    word -> the most frequent ones, and those of the held-out sample

Counts are 64-bit and every cut has a total order, so neither the workers nor the order of the input
can change the result. Every word is accounted for: kept, or dropped by a named reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import apache_beam as beam
import numpy as np
from apache_beam.transforms.window import GlobalWindows

from pipelines.documents.blocks import DocumentBlock
from pipelines.documents.read_documents import check_reading
from pipelines.keyed_random import bernoulli, fold, purpose_key
from pipelines.records.manifest import check_balance
from pipelines.records.ragged import Ragged
from pipelines.stage import Report, add_counts
from pipelines.text.words import is_too_long, separate_words
from pipelines.vocab.config import VocabConfig
from pipelines.vocab.word_counts import (
    WordCounts,
    WordTable,
    add_tables,
    cut_by_word,
    most_frequent,
)

# A worker hands its counts on when it holds this many distinct words.
_FLUSH_WORDS = 2_000_000


class _CountWords(beam.DoFn):
    """DocumentBlock -> (partition, WordTable), at the latest once per bundle; tagged 'reports'."""

    def __init__(self, lowercase: bool, strip_accents: bool, held_out_fraction: float):
        self._separate = partial(separate_words, lowercase=lowercase, strip_accents=strip_accents)
        self._held_out_fraction = held_out_fraction

    def start_bundle(self) -> None:
        self._words: Counter[bytes] = Counter()
        self._held_out: Counter[bytes] = Counter()

    def process(self, element: DocumentBlock) -> Iterator[Any]:
        counts = Counter(element.counts)
        counts["documents_out"] = len(element)
        if len(element):
            words = self._separate(np.frombuffer(element.text, np.uint8), element.offsets).split()
            self._words.update(words)
            counts["words_in"] = len(words)
            counts += self._count_held_out(element)
        yield beam.pvalue.TaggedOutput("reports", Report(counts))
        if len(self._words) > _FLUSH_WORDS:
            yield from self._cut()

    def _count_held_out(self, block: DocumentBlock) -> Counter[str]:
        """Counts the words of the block's held-out documents once more, apart."""
        bits = fold(purpose_key(0, "held-out documents"), block.doc_ids)
        held_out = np.flatnonzero(bernoulli(bits, self._held_out_fraction))
        if not len(held_out):
            return Counter()
        texts = Ragged(np.frombuffer(block.text, np.uint8), block.offsets).take(held_out)
        self._held_out.update(self._separate(texts.values, texts.offsets).split())
        return Counter(documents_held_out=len(texts), bytes_held_out=len(texts.values))

    def _cut(self) -> Iterator[Any]:
        too_long = [word for word in self._words if is_too_long(word)]
        dropped = sum(self._words.pop(word) for word in too_long)
        if dropped:
            counts = Counter(words_dropped_over_100_characters=dropped)
            yield beam.pvalue.TaggedOutput("reports", Report(counts))
        yield from cut_by_word(self._words, self._held_out).items()
        self.start_bundle()

    def finish_bundle(self) -> Iterator[Any]:
        for output in self._cut():
            if isinstance(output, beam.pvalue.TaggedOutput):
                value = GlobalWindows.windowed_value(output.value)
                yield beam.pvalue.TaggedOutput(output.tag, value)
            else:
                yield GlobalWindows.windowed_value(output)


class _AddUp(beam.DoFn):
    """(partition, tables) -> WordTable of its most frequent words, and Report of those cut."""

    def __init__(self, limit: int, min_count: int):
        self._limit, self._min_count = limit, min_count

    def process(self, element: tuple[int, Iterable[WordTable]]) -> Iterator[Any]:
        total, held_out = add_tables(element[1])
        # A word outside the first ``limit`` of its partition is outside those of all partitions.
        words = most_frequent(total, self._limit, self._min_count)
        # The held-out sample keeps its rare words: a vocabulary is judged by them, too.
        kept = set(words)
        words += [word for word in most_frequent(held_out, self._limit) if word not in kept]
        table = WordTable.of(words, total, held_out)
        cut = Counter(words_dropped_rare=sum(total.values()) - int(table.counts.sum()))
        yield beam.pvalue.TaggedOutput("reports", Report(cut))
        yield table


@dataclass
class CountWords(beam.PTransform):
    """PCollection of DocumentBlock -> Reports and WordTables, for ``gather_counts``."""

    config: VocabConfig

    def expand(self, blocks: beam.PCollection[DocumentBlock]) -> beam.PCollection[Any]:
        config = self.config
        count = _CountWords(config.lowercase, bool(config.strip_accents), config.held_out_fraction)
        counted = blocks | "Count" >> beam.ParDo(count).with_outputs("reports", main="tables")
        added = (
            counted.tables
            | "Typed" >> beam.Map(lambda pair: pair).with_output_types(tuple[int, WordTable])
            | "ByPart" >> beam.GroupByKey()
            | "Add"
            >> beam.ParDo(_AddUp(config.max_input_tokens, config.min_count)).with_outputs(
                "reports", main="tables"
            )
        )
        return (counted.reports, added.reports, added.tables) | beam.Flatten()


def gather_counts(elements: list[Any], ranges: int) -> WordCounts:
    """All tables as one list of words, after checking the balance."""
    totals = add_counts(element for element in elements if isinstance(element, Report))
    check_reading(totals, ranges)
    total, held_out = add_tables(element for element in elements if isinstance(element, WordTable))
    words = most_frequent(total, len(total))
    table = WordTable.of(words, total, held_out)
    check_balance(totals, "documents", "documents_in", ("documents_out", "documents_dropped_*"))
    check_balance(
        {**totals, "words_kept": int(table.counts.sum())},
        "words",
        "words_in",
        ("words_kept", "words_dropped_*"),
    )
    return WordCounts([word.decode() for word in words], table.counts, table.held_out, dict(totals))
