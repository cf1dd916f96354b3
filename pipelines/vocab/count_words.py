"""Counting words with Beam: blocks of documents to one list of words and their counts.

    words counted in the worker, as long as its memory lasts -> tables cut by word -> one sum per
    word -> the most frequent ones, and those of the held-out sample, of some partitions, and so on

Counts are 64-bit and every cut has a total order, so neither the workers nor the order of the input
can change the result. Every word is accounted for: kept, or dropped by a named reason. No step holds
more than its part of the distinct words, or a few times as many as a vocabulary is learned from.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import numpy as np
from apache_beam.transforms.window import GlobalWindows

from pipelines.beam.step_times import time_each, timed
from pipelines.beam.worker_step import WorkerStep
from pipelines.documents.blocks import DocumentBlock
from pipelines.documents.read_documents import check_reading
from pipelines.documents.text_size import text_bytes
from pipelines.keyed_random import bernoulli, fold, purpose_key
from pipelines.records.manifest import check_balance
from pipelines.records.ragged import offsets_of
from pipelines.stage import Report, add_counts
from pipelines.storage.files import FileInfo
from pipelines.text.words import MAX_WORD_CHARACTERS
from pipelines.vocab.config import VocabConfig
from pipelines.vocab.word_counter import WordCounter
from pipelines.vocab.word_counts import WordCounts
from pipelines.vocab.word_tables import (
    add_words,
    by_frequency,
    cut_by_word,
    merge_frequent,
    pack,
    unpack,
)

_STEP = "counting words"
# A worker hands its counts on when it holds this many distinct words.
_FLUSH_WORDS = 2_000_000
# Partitions of words: for each so much text, which holds some 100,000 to a million distinct words.
_PARTITION_BYTES = 1 << 30
_FEWEST, _MOST = 16, 4096
# How many partitions of frequent words become one, where there are more than the fewest.
_MERGED = 4
# The partition of what was read and left out, beside those of words; also after merging.
_REPORTS = -1


def count_partitions(inputs: Sequence[FileInfo]) -> int:
    """Into how many partitions the words of these files are cut."""
    return min(max(_FEWEST, text_bytes(inputs) // _PARTITION_BYTES), _MOST)


def _is_too_long(word: bytes) -> bool:
    return len(word) > MAX_WORD_CHARACTERS and len(word.decode()) > MAX_WORD_CHARACTERS


class _CountWords(WorkerStep):
    """DocumentBlock -> (partition, packed table of its words), at the latest once per bundle, and a
    Report a bundle, which has a partition of its own."""

    def __init__(self, config: VocabConfig, partitions: int):
        super().__init__()
        self._config, self._partitions = config, partitions

    def start_bundle(self) -> None:
        self._words, self._held_out = WordCounter(self._config), WordCounter(self._config)
        self._counts: Counter[str] = Counter()

    def process(self, element: DocumentBlock) -> Iterator[tuple[int, Any]]:
        self._counts.update(element.counts)
        self._counts["documents_out"] += len(element)
        with timed(self._counts, _STEP):
            self._add(element)
        if len(self._words) > _FLUSH_WORDS:
            yield from time_each(self._cut(), self._counts, _STEP)

    def _add(self, element: DocumentBlock) -> None:
        self._words.add(element.text, element.offsets)
        bits = fold(purpose_key(0, "held-out documents"), element.doc_ids)
        chosen = np.flatnonzero(bernoulli(bits, self._config.held_out_fraction)).tolist()
        if chosen:
            ends = element.offsets.tolist()
            texts = [element.text[ends[i] : ends[i + 1]] for i in chosen]
            held_out = b"".join(texts)
            self._held_out.add(held_out, offsets_of(np.array([*map(len, texts)])))
            self._counts.update(documents_held_out=len(texts), bytes_held_out=len(held_out))

    def finish_bundle(self) -> Iterator[Any]:
        cut = time_each(self._cut(), self._counts, _STEP)
        yield from map(GlobalWindows.windowed_value, cut)
        yield GlobalWindows.windowed_value((_REPORTS, Report(self._counts)))

    def _cut(self) -> Iterator[tuple[int, bytes]]:
        words = self._words.take()
        self._counts["words_in"] += words.total()
        too_long = [word for word in words if _is_too_long(word)]
        if too_long:
            self._counts["words_dropped_over_100_characters"] += sum(map(words.pop, too_long))
        yield from cut_by_word(words, self._held_out.take(), self._partitions)


class _KeepFrequent(beam.DoFn):
    """(partition, packed tables) -> (partition of the next step, packed table of the most frequent
    words), and Reports. ``add``: the tables share words, whose counts are to be added up."""

    def __init__(self, config: VocabConfig, *, add: bool):
        self._config, self._add = config, add

    def process(self, element: tuple[int, Iterable[Any]]) -> Iterator[tuple[int, Any]]:
        partition, parts = element
        if partition == _REPORTS:
            yield _REPORTS, Report(add_counts(parts))
            return
        counts: Counter[str] = Counter()
        with timed(counts, "adding words up"):
            tables = [add_words(parts)] if self._add else map(unpack, parts)
            # What is not among the first of its partition is not among those of all partitions.
            words, counts["words_dropped_rare"] = _cut_down(tables, self._config)
        yield _REPORTS, Report(counts)
        yield partition // _MERGED, pack(words)


def _cut_down(tables: Iterable[Any], config: VocabConfig) -> tuple[Any, int]:
    return merge_frequent(tables, config.max_input_tokens, config.min_count)


@dataclass
class CountWords(beam.PTransform):
    """PCollection of DocumentBlock -> Reports and packed tables of words, for ``gather_counts``."""

    config: VocabConfig
    partitions: int

    def expand(self, blocks: beam.PCollection[DocumentBlock]) -> beam.PCollection[Any]:
        counted = blocks | "Count" >> _typed(_CountWords(self.config, self.partitions))
        kept = (
            counted
            | "ByPart" >> beam.GroupByKey()
            | "Add" >> _typed(_KeepFrequent(self.config, add=True))
        )
        left = self.partitions if self.partitions > _FEWEST else 1
        while (left := -(-left // _MERGED)) > 1:
            kept = (
                kept
                | f"To{left}" >> beam.GroupByKey()
                | f"Merge{left}" >> _typed(_KeepFrequent(self.config, add=False))
            )
        return kept | beam.Values()


def _typed(step: beam.DoFn) -> Any:
    return beam.ParDo(step).with_output_types(tuple[int, Any])


def gather_counts(elements: list[Any], ranges: int, config: VocabConfig) -> WordCounts:
    """The words to learn from and to judge by with their counts, most frequent first, after checking
    the balance."""
    totals = add_counts(element for element in elements if isinstance(element, Report))
    check_reading(totals, ranges)
    tables = (unpack(element) for element in elements if isinstance(element, bytes))
    table, dropped = _cut_down(tables, config)
    totals["words_dropped_rare"] += dropped
    counted = WordCounts(*by_frequency(table), dict(totals))
    check_balance(totals, "documents", "documents_in", ("documents_out", "documents_dropped_*"))
    balance = {**totals, "words_kept": int(counted.counts.sum())}
    check_balance(balance, "words", "words_in", ("words_kept", "words_dropped_*"))
    return counted
