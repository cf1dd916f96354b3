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
from pipelines.records.ragged import offsets_of
from pipelines.stage import Report, add_counts
from pipelines.text.words import MAX_WORD_CHARACTERS
from pipelines.vocab.config import VocabConfig
from pipelines.vocab.word_counter import WordCounter
from pipelines.vocab.word_counts import WordCounts, add_words, cut_by_word, most_frequent

# A worker hands its counts on when it holds this many distinct words.
_FLUSH_WORDS = 2_000_000
# The partition of what was read and left out, beside those of words.
_REPORTS = -1


def _is_too_long(word: bytes) -> bool:
    return len(word) > MAX_WORD_CHARACTERS and len(word.decode()) > MAX_WORD_CHARACTERS


class _CountWords(beam.DoFn):
    """DocumentBlock -> (partition, Counters of its words), at the latest once per bundle; Reports
    have a partition of their own."""

    def __init__(self, config: VocabConfig):
        self._config = config

    def start_bundle(self) -> None:
        self._words, self._held_out = WordCounter(self._config), WordCounter(self._config)

    def process(self, element: DocumentBlock) -> Iterator[tuple[int, Any]]:
        counts = Counter(element.counts)
        counts.update(documents_out=len(element))
        self._words.add(element.text, element.offsets)
        bits = fold(purpose_key(0, "held-out documents"), element.doc_ids)
        chosen = np.flatnonzero(bernoulli(bits, self._config.held_out_fraction)).tolist()
        if chosen:
            ends = element.offsets.tolist()
            texts = [element.text[ends[i] : ends[i + 1]] for i in chosen]
            held_out = b"".join(texts)
            self._held_out.add(held_out, offsets_of(np.array([*map(len, texts)])))
            counts.update(documents_held_out=len(texts), bytes_held_out=len(held_out))
        yield _REPORTS, Report(counts)
        if len(self._words) > _FLUSH_WORDS:
            yield from self._cut()

    def finish_bundle(self) -> Iterator[Any]:
        yield from map(GlobalWindows.windowed_value, self._cut())

    def _cut(self) -> Iterator[tuple[int, Any]]:
        words = self._words.take()
        counts = Counter(words_in=words.total())
        too_long = [word for word in words if _is_too_long(word)]
        if too_long:
            counts["words_dropped_over_100_characters"] = sum(map(words.pop, too_long))
        yield _REPORTS, Report(counts)
        yield from cut_by_word(words, self._held_out.take()).items()


class _AddUp(beam.DoFn):
    """(partition, what it holds) -> Counters of its most frequent words, and Reports."""

    def __init__(self, limit: int, min_count: int):
        self._limit, self._min_count = limit, min_count

    def process(self, element: tuple[int, Iterable[Any]]) -> Iterator[Any]:
        partition, parts = element
        if partition == _REPORTS:
            yield Report(add_counts(parts))
            return
        total, held_out = add_words(parts)
        # A word outside the first ``limit`` of its partition is outside those of all partitions.
        words = most_frequent(total, self._limit, self._min_count)
        # The held-out sample keeps its rare words: a vocabulary is judged by them, too.
        words = list(dict.fromkeys([*words, *most_frequent(held_out, self._limit)]))
        kept = Counter({word: total[word] for word in words})
        yield Report(Counter(words_dropped_rare=total.total() - kept.total()))
        yield kept, Counter({word: held_out[word] for word in words if word in held_out})


@dataclass
class CountWords(beam.PTransform):
    """PCollection of DocumentBlock -> Reports and Counters of words, for ``gather_counts``."""

    config: VocabConfig

    def expand(self, blocks: beam.PCollection[DocumentBlock]) -> beam.PCollection[Any]:
        count = beam.ParDo(_CountWords(self.config)).with_output_types(tuple[int, Any])
        add_up = beam.ParDo(_AddUp(self.config.max_input_tokens, self.config.min_count))
        return blocks | "Count" >> count | "ByPart" >> beam.GroupByKey() | "Add" >> add_up


def gather_counts(elements: list[Any], ranges: int) -> WordCounts:
    """All words with their counts, most frequent first, after checking the balance."""
    totals = add_counts(element for element in elements if isinstance(element, Report))
    check_reading(totals, ranges)
    total, held_out = add_words(element for element in elements if isinstance(element, tuple))
    words = most_frequent(total, len(total))
    check_balance(totals, "documents", "documents_in", ("documents_out", "documents_dropped_*"))
    balance = {**totals, "words_kept": total.total()}
    check_balance(balance, "words", "words_in", ("words_kept", "words_dropped_*"))
    return WordCounts(
        [word.decode() for word in words],
        np.fromiter(map(total.__getitem__, words), np.int64, len(words)),
        np.fromiter(map(held_out.__getitem__, words), np.int64, len(words)),
        dict(totals),
    )
