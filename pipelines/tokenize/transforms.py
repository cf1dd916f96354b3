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
from apache_beam.transforms.window import GlobalWindows

from pipelines import files
from pipelines.documents.blocks import DocumentBlock
from pipelines.documents.read_documents import LabelledBlock
from pipelines.errors import UserError
from pipelines.records.ragged import (
    Columns,
    concatenate,
    flat_column,
    group_rows,
    ragged_column,
    take,
)
from pipelines.records.shards import write_records, write_shard
from pipelines.records.writer_process import write_records_apart
from pipelines.stage import Report
from pipelines.text.vocabulary import Vocabulary
from pipelines.text.vocabulary_source import VOCABULARY_FILE
from pipelines.tokenize.config import TokenizeConfig
from pipelines.tokenize.encode import Encoder
from pipelines.tokenize.pack_labelled import labels_of
from pipelines.tokenize.shard import assign_shards, build_shard, plan_shards
from pipelines.tokenize.stored_blocks import BlockFile, StoredBlock, StoredDocuments
from pipelines.tokenize.token_tables import encode_documents, encode_examples

# Tokens that a worker gathers before it cuts them by shard: 8 or 16 MB.
_HELD_TOKENS = 1 << 22

_encoder_lock = threading.Lock()


@lru_cache(maxsize=2)
def fetch_vocabulary(folder: str, fingerprint: str) -> Vocabulary:
    """The vocabulary of an output, where the stage puts it before it starts.

    In the steps themselves it would be serialised, compressed and checked many times over.
    """
    path = files.join(folder, VOCABULARY_FILE)
    vocabulary = Vocabulary.parse(files.read_bytes(path), source=path)
    if vocabulary.fingerprint != fingerprint:
        raise UserError(
            f"{path}: another run is writing to this folder, with another vocabulary; "
            "choose another --output"
        )
    return vocabulary


@lru_cache(maxsize=2)
def _make_encoder(vocabulary: Vocabulary, lowercase: bool, strip_accents: bool) -> Encoder:
    return Encoder(vocabulary, lowercase, strip_accents)


def shared_encoder(config: TokenizeConfig, vocabulary: Vocabulary) -> Encoder:
    """Threads of one process share the kernel and its tables, which take a while to make."""
    assert config.lowercase is not None
    assert config.strip_accents is not None
    with _encoder_lock:
        return _make_encoder(vocabulary, config.lowercase, config.strip_accents)


class TokenizeBlocks(beam.DoFn):
    """Blocks -> (shard key, table of its documents) and, tagged 'reports', what became of the rest.

    Documents are held until there are enough to be worth cutting by shard. Where the workers share
    this machine's disk, ``folder`` is where their tokens go; Beam then moves only where they stand.
    """

    def __init__(self, config: TokenizeConfig, fingerprint: str, folder: str | None):
        self._config, self._fingerprint, self._folder = config, fingerprint, folder

    def start_bundle(self) -> None:
        self._held: list[Columns] = []
        self._held_tokens = 0
        self._counts: Counter[str] = Counter()
        self._file = None if self._folder is None else BlockFile(self._folder)

    def process(
        self, element: DocumentBlock | LabelledBlock
    ) -> Iterator[tuple[int, Columns | StoredBlock]]:
        self._counts.update(element.counts)
        if len(element):
            table, counts = self._encode(element)
            self._counts.update(counts)
            self._held.append(table)
            self._held_tokens += len(ragged_column(table, "token_ids").values)
            if self._held_tokens >= _HELD_TOKENS:
                yield from self._cut()

    def finish_bundle(self) -> Iterator[Any]:
        for pair in self._cut():
            yield GlobalWindows.windowed_value(pair)
        if self._file is not None:
            self._file.close()
        report = GlobalWindows.windowed_value(Report(self._counts))
        yield beam.pvalue.TaggedOutput("reports", report)

    def _encode(self, block: DocumentBlock | LabelledBlock) -> tuple[Columns, Counter[str]]:
        config = self._config
        encoder = shared_encoder(config, fetch_vocabulary(config.output, self._fingerprint))
        if isinstance(block, LabelledBlock):
            return encode_examples(block.data, encoder, config.seq_length)
        return encode_documents(block, encoder, config.min_tokens)

    def _cut(self) -> Iterator[tuple[int, Columns | StoredBlock]]:
        """Cuts what is held by shard."""
        if not self._held:
            return
        table = concatenate(self._held)
        self._held, self._held_tokens = [], 0
        for key, documents in group_rows(
            assign_shards(flat_column(table, "doc_ids"), self._config)
        ):
            part = take(table, documents)
            yield key, part if self._file is None else self._file.append(part)


class WriteShard(beam.DoFn):
    """(shard key, tables of its documents) -> Report, after writing the shard.

    Where workers are threads of one process, ``apart``, a process of each writes its shards.
    """

    def __init__(self, config: TokenizeConfig, fingerprint: str, apart: bool):
        self._config, self._fingerprint = config, fingerprint
        self._write = write_records_apart if apart else write_records

    def process(self, element: tuple[int, Iterable[Columns | StoredBlock]]) -> Iterator[Report]:
        config, (key, blocks) = self._config, element
        shard = plan_shards(config)[key]
        vocabulary = fetch_vocabulary(config.output, self._fingerprint)
        counts: Counter[str] = Counter()
        labels: Counter[str] = Counter()

        def count(parts: Iterable[tuple[Columns, Counter[str]]]) -> Iterator[Columns]:
            for rows, part_counts in parts:
                counts.update(part_counts)
                if config.packing == "examples":
                    labels.update(labels_of(rows))
                yield rows

        with tempfile.TemporaryDirectory(prefix="bertmill-") as folder:
            rows = count(build_shard(_store(blocks, folder), config, vocabulary))
            info, schema = write_shard(config.output, shard.name, rows, config.format, self._write)
        yield Report(counts, shard.split, info, schema, labels)


def _store(blocks: Iterable[Columns | StoredBlock], folder: str) -> StoredDocuments:
    """The documents of a shard, those that came through Beam stored in a folder of this worker."""
    file = BlockFile(folder)
    stored = [block if isinstance(block, StoredBlock) else file.append(block) for block in blocks]
    file.close()
    return StoredDocuments(stored)
