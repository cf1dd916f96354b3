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
from typing import Any

import apache_beam as beam
import numpy as np
from apache_beam.transforms.window import GlobalWindows

from pipelines.documents.blocks import DocumentBlock
from pipelines.documents.read_documents import check_reading
from pipelines.keyed_random import bernoulli, fold, purpose_key
from pipelines.records.manifest import check_balance
from pipelines.stage import Report, add_counts
from pipelines.text.words import MAX_WORD_CHARACTERS, split_words
from pipelines.vocab.config import VocabConfig
from pipelines.vocab.word_counts import WordCounts, add_words, cut_by_word, most_frequent

# A worker hands its counts on when it holds this many distinct words.
_FLUSH_WORDS = 2_000_000


def split_documents(texts: Iterable[str], config: VocabConfig) -> list[str]:
    """The words of documents; none goes on in the next document."""
    return split_words(
        "\n".join(texts), lowercase=config.lowercase, strip_accents=bool(config.strip_accents)
    )


class _CountWords(beam.DoFn):
    """DocumentBlock -> (partition, WordCounts), at the latest once per bundle; tagged 'reports'."""

    def __init__(self, config: VocabConfig):
        self._config = config

    def start_bundle(self) -> None:
        self._words: Counter[str] = Counter()
        self._held_out: Counter[str] = Counter()

    def process(self, element: DocumentBlock) -> Iterator[Any]:
        texts = element.texts()
        words = split_documents(texts, self._config)
        self._words.update(words)
        counts = Counter(element.counts)
        counts.update(documents_out=len(texts), words_in=len(words))
        bits = fold(purpose_key(0, "held-out documents"), element.doc_ids)
        chosen = np.flatnonzero(bernoulli(bits, self._config.held_out_fraction))
        if len(chosen):
            held_out = [texts[i] for i in chosen.tolist()]
            self._held_out.update(split_documents(held_out, self._config))
            size = sum(len(text.encode()) for text in held_out)
            counts.update(documents_held_out=len(held_out), bytes_held_out=size)
        yield beam.pvalue.TaggedOutput("reports", Report(counts))
        if len(self._words) > _FLUSH_WORDS:
            yield from self._cut()

    def _cut(self) -> Iterator[Any]:
        too_long = [word for word in self._words if len(word) > MAX_WORD_CHARACTERS]
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
    """(partition, its WordCounts) -> those of its most frequent words, and a Report of those cut."""

    def __init__(self, limit: int, min_count: int):
        self._limit, self._min_count = limit, min_count

    def process(self, element: tuple[int, Iterable[WordCounts]]) -> Iterator[Any]:
        total, held_out = add_words(element[1])
        # A word outside the first ``limit`` of its partition is outside those of all partitions.
        words = most_frequent(total, self._limit, self._min_count)
        # The held-out sample keeps its rare words: a vocabulary is judged by them, too.
        words = list(dict.fromkeys([*words, *most_frequent(held_out, self._limit)]))
        counted = WordCounts.of(words, total, held_out)
        cut = Counter(words_dropped_rare=total.total() - int(counted.counts.sum()))
        yield beam.pvalue.TaggedOutput("reports", Report(cut))
        yield counted


@dataclass
class CountWords(beam.PTransform):
    """PCollection of DocumentBlock -> Reports and WordCounts, for ``gather_counts``."""

    config: VocabConfig

    def expand(self, blocks: beam.PCollection[DocumentBlock]) -> beam.PCollection[Any]:
        add_up = _AddUp(self.config.max_input_tokens, self.config.min_count)
        counted = blocks | "Count" >> beam.ParDo(_CountWords(self.config)).with_outputs(
            "reports", main="tables"
        )
        added = (
            counted.tables
            | "Typed" >> beam.Map(lambda pair: pair).with_output_types(tuple[int, WordCounts])
            | "ByPart" >> beam.GroupByKey()
            | "Add" >> beam.ParDo(add_up).with_outputs("reports", main="tables")
        )
        return (counted.reports, added.reports, added.tables) | beam.Flatten()


def gather_counts(elements: list[Any], ranges: int) -> WordCounts:
    """All tables as one, most frequent words first, after checking the balance."""
    totals = add_counts(element for element in elements if isinstance(element, Report))
    check_reading(totals, ranges)
    total, held_out = add_words(element for element in elements if isinstance(element, WordCounts))
    counted = WordCounts.of(most_frequent(total, len(total)), total, held_out, dict(totals))
    check_balance(totals, "documents", "documents_in", ("documents_out", "documents_dropped_*"))
    balance = {**totals, "words_kept": total.total()}
    check_balance(balance, "words", "words_in", ("words_kept", "words_dropped_*"))
    return counted
