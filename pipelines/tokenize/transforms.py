"""The two Beam steps of tokenize: documents to tokens cut by shard, and a shard's tokens to its file.

Counts leave a bundle as one report when it ends, with the data: a retried bundle counts once.
"""

from __future__ import annotations

import tempfile
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any

import apache_beam as beam
import numpy as np
from apache_beam.transforms.window import GlobalWindows

from pipelines.beam.step_times import time_each, timed
from pipelines.beam.worker_step import WorkerStep
from pipelines.documents.blocks import DocumentBlock
from pipelines.documents.read_documents import LabelledBlock
from pipelines.errors import UserError
from pipelines.records.ragged import Columns, concatenate, group_rows, take
from pipelines.records.shards import write_records, write_shard
from pipelines.records.writer_process import write_records_apart
from pipelines.stage import Report
from pipelines.storage import files
from pipelines.text.vocabulary import Vocabulary
from pipelines.text.vocabulary_source import VOCABULARY_FILE
from pipelines.tokenize.config import TokenizeConfig
from pipelines.tokenize.encode import Encoder
from pipelines.tokenize.evaluation_texts import EvaluationTexts
from pipelines.tokenize.find_near_duplicates import SENT, Dropped, Shown
from pipelines.tokenize.shard import assign_shards, build_shard, plan_shards
from pipelines.tokenize.shown_clusters import ClusterPart, begin_texts
from pipelines.tokenize.stored_blocks import BlockFile, StoredBlock, StoredDocuments, store_tables
from pipelines.tokenize.token_tables import encode_documents, encode_examples, labels_of

# Tokens that a worker gathers before it cuts them by shard: so many for each shard, since a piece of one
# document costs as much as one of many, but at least 4 or 8 MB and at most 128 or 256.
_PIECE_TOKENS, _LEAST_TOKENS, _MOST_TOKENS = 1 << 13, 1 << 21, 1 << 26
# More labels than this are numbers rather than classes, and not listed: only their sum is counted.
MOST_LABELS = 1000

_encoder_lock = threading.Lock()


def tokens_to_cut(shards: int) -> int:
    """How many tokens a worker gathers for so many shards."""
    return min(max(shards * _PIECE_TOKENS, _LEAST_TOKENS), _MOST_TOKENS)


def shared_encoder(config: TokenizeConfig, fingerprint: str) -> Encoder:
    """The encoder that all threads of a process share, with the vocabulary that the stage put into
    its output: in the steps themselves it would be serialised and compressed many times over."""
    lowercase, strip_accents = bool(config.lowercase), bool(config.strip_accents)
    with _encoder_lock:
        return _load_encoder(config.output, fingerprint, lowercase, strip_accents)


@lru_cache(maxsize=2)
def _load_encoder(folder: str, fingerprint: str, lowercase: bool, strip_accents: bool) -> Encoder:
    path = files.join(folder, VOCABULARY_FILE)
    vocabulary = Vocabulary.parse(files.read_bytes(path), source=path)
    if vocabulary.fingerprint != fingerprint:
        raise UserError(
            f"{path}: another run is writing to this folder, with another vocabulary; "
            "choose another --output"
        )
    return Encoder(vocabulary, lowercase, strip_accents)


def shared_evaluation(path: str) -> EvaluationTexts:
    """The evaluation texts in a file, which all threads of a process share."""
    with _encoder_lock:
        return _load_evaluation(path)


@lru_cache(maxsize=1)
def _load_evaluation(path: str) -> EvaluationTexts:
    return EvaluationTexts.from_bytes(files.read_bytes(path))


class TokenizeBlocks(WorkerStep):
    """Blocks -> (shard key, table of its documents) and, tagged 'reports', the counts; with
    ``--deduplicate near`` all documents too, tagged 'documents', in tables.

    Documents are held until there are enough to be worth cutting by shard; those of other shards
    than ``keys`` are left out. Where the workers share this machine's disk, their tables go to
    ``folder``, and only the locations through Beam. ``evaluation``: the file of the evaluation texts
    to be left out, if there are any.
    """

    def __init__(
        self,
        config: TokenizeConfig,
        fingerprint: str,
        folder: str | None,
        keys: frozenset[int],
        evaluation: str | None,
    ):
        super().__init__()
        self._config, self._fingerprint, self._folder = config, fingerprint, folder
        self._keys, self._evaluation = keys, evaluation
        self._tokens_to_cut = tokens_to_cut(len(keys))

    def start_bundle(self) -> None:
        self._held: list[Columns] = []
        self._held_tokens = 0
        self._counts: Counter[str] = Counter()
        self._leaks = [np.zeros((2, 0), np.uint64)]
        self._file = None if self._folder is None else BlockFile(self._folder)

    def process(self, element: DocumentBlock | LabelledBlock) -> Iterator[Any]:
        self._counts.update(element.counts)
        if not len(element):
            return
        with timed(self._counts, "tokenizing"):
            table = self._encode(element)
        if self._config.deduplicate == "near":
            self._counts[SENT] += 1
            yield beam.pvalue.TaggedOutput("documents", (0, [table]))
        self._held.append(table)
        self._held_tokens += len(table["token_ids"].values)
        if self._held_tokens >= self._tokens_to_cut:
            yield from time_each(self._cut(), self._counts, "tokenizing")

    def finish_bundle(self) -> Iterator[Any]:
        if self._held:
            cut = time_each(self._cut(), self._counts, "tokenizing")
            yield from map(GlobalWindows.windowed_value, cut)
        if self._file is not None:
            self._file.close()
        report = GlobalWindows.windowed_value(
            Report(self._counts, leaks=np.concatenate(self._leaks, 1))
        )
        yield beam.pvalue.TaggedOutput("reports", report)

    def _encode(self, block: DocumentBlock | LabelledBlock) -> Columns:
        encoder = shared_encoder(self._config, self._fingerprint)
        if isinstance(block, LabelledBlock):
            table, counts = encode_examples(block.examples, encoder, self._config.seq_length)
        else:
            table, counts = encode_documents(block, encoder, self._config)
        self._counts.update(counts)
        if self._evaluation:
            return self._find_leaks(table, shared_evaluation(self._evaluation))
        return table

    def _find_leaks(self, table: Columns, evaluation: EvaluationTexts) -> Columns:
        """Notes and counts the documents that share a run with an evaluation text, and drops them unless
        they are only reported."""
        tokens = table["token_ids"]
        documents, texts, _ = evaluation.find(tokens)
        self._leaks.append(np.stack([table["doc_ids"][documents], texts.astype(np.uint64)]))
        leaked = np.isin(np.arange(len(tokens)), documents)
        drops = self._config.exclude_action == "drop"
        name = "dropped_leaked" if drops else "leaked"
        self._counts[f"documents_{name}"] += int(leaked.sum())
        self._counts[f"tokens_{name}"] += int(tokens.lengths[leaked].sum())
        return take(table, np.flatnonzero(~leaked)) if drops and leaked.any() else table

    def _cut(self) -> Iterator[tuple[int, Columns | StoredBlock]]:
        """Cuts what is held by shard."""
        held = concatenate(self._held)
        self._held, self._held_tokens = [], 0
        shards = assign_shards(held["doc_ids"], self._config)
        for key, documents in group_rows(shards):
            if key not in self._keys:
                continue
            table = take(held, documents)
            yield key, table if self._file is None else self._file.append(table)


class WriteShard(WorkerStep):
    """(shard key, tables of its documents, and which go) -> Report, after writing the shard.

    Where workers are threads of one process, ``apart``, a process of each writes its shards.
    """

    def __init__(self, config: TokenizeConfig, fingerprint: str, apart: bool):
        super().__init__()
        self._config, self._fingerprint = config, fingerprint
        self._write = write_records_apart if apart else write_records

    def process(
        self, element: tuple[int, Iterable[Columns | StoredBlock | Dropped | Shown]]
    ) -> Iterator[Report]:
        config, (key, tables) = self._config, element
        shard = plan_shards(config)[key]
        vocabulary = shared_encoder(config, self._fingerprint).vocabulary
        counts: Counter[str] = Counter()
        labels: Counter[str | None] = Counter()
        dropped = [np.zeros(0, np.uint64)]
        shown: list[Columns] = []
        clusters: list[ClusterPart] = []

        def blocks() -> Iterator[Columns | StoredBlock]:
            for table in tables:
                if isinstance(table, Dropped):
                    dropped.append(table.doc_ids)
                elif isinstance(table, Shown):
                    shown.append(table.links)
                else:
                    yield table

        def rows(documents: StoredDocuments) -> Iterator[Columns]:
            nonlocal labels
            near = np.concatenate(dropped)
            if shown:
                clusters.extend(begin_texts(documents, concatenate(shown), vocabulary))
            built = build_shard(documents, config, vocabulary, near)
            for columns, chunk_counts in time_each(built, counts, "packing"):
                counts.update(chunk_counts)
                if config.packing == "examples":
                    labels.update(labels_of(columns))
                    if len(labels) > MOST_LABELS:
                        labels = Counter({None: labels.total()})
                yield columns

        with (
            timed(counts, "writing"),
            tempfile.TemporaryDirectory(prefix="bertmill-") as folder,
        ):
            parts = rows(store_tables(blocks(), folder))
            info, schema = write_shard(config.output, shard.name, parts, config.format, self._write)
        yield Report(counts, shard.split, info, schema, labels, clusters=clusters)
