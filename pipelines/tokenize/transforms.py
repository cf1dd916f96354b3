"""The two Beam steps of tokenize: documents to tokens cut by shard, and a shard's tokens to its file.

Counts leave a bundle as one report when it ends, with the data: a retried bundle counts once.
"""

from __future__ import annotations

import tempfile
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import chain
from typing import Any

import apache_beam as beam
import numpy as np
from apache_beam.transforms.window import GlobalWindows

from pipelines import files
from pipelines.documents.blocks import DocumentBlock
from pipelines.errors import UserError
from pipelines.records.codec import schema_of, token_dtype
from pipelines.records.ragged import Columns
from pipelines.records.shards import shard_name, write_records, write_shard_parts
from pipelines.records.writer_process import write_records_apart
from pipelines.report import Report
from pipelines.text.vocabulary import Vocabulary
from pipelines.text.vocabulary_source import VOCABULARY_FILE
from pipelines.tokenize.config import TokenizeConfig
from pipelines.tokenize.encode import Encoder
from pipelines.tokenize.plan import assign_shards, plan_shards
from pipelines.tokenize.shard import build_shard
from pipelines.tokenize.stored_blocks import (
    BlockFile,
    StoredBlock,
    StoredDocuments,
    TokenBlock,
    join_blocks,
)

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
    """DocumentBlocks -> (shard key, its documents) and, tagged 'reports', what was read and dropped.

    Documents are held until there are enough to be worth cutting by shard. Where the workers share
    this machine's disk, ``folder`` is where their tokens go; Beam then moves only their places.
    """

    def __init__(self, config: TokenizeConfig, fingerprint: str, folder: str | None):
        self._config, self._fingerprint, self._folder = config, fingerprint, folder

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
        vocabulary = fetch_vocabulary(config.output, self._fingerprint)
        encoder = shared_encoder(config, vocabulary)
        token_ids, offsets = encoder.encode_block(documents.text, documents.offsets)
        lengths = np.diff(offsets)
        kept = lengths >= config.min_tokens
        counts["documents_dropped_no_tokens"] += int((lengths == 0).sum())
        short = ~kept & (lengths > 0)
        counts["documents_dropped_short"] += int(short.sum())
        counts["tokens_in"] += int(lengths.sum())
        counts["tokens_dropped_short"] += int(lengths[short].sum())
        narrow = token_ids.astype(token_dtype(vocabulary.size))
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


class WriteShard(beam.DoFn):
    """(shard key, its documents) -> Report, after writing the shard.

    Where workers are threads of one process, ``apart``, a process of each writes its shards.
    """

    def __init__(self, config: TokenizeConfig, fingerprint: str, apart: bool):
        self._config, self._fingerprint = config, fingerprint
        self._write = write_records_apart if apart else write_records

    def process(self, element: tuple[int, Iterable[TokenBlock | StoredBlock]]) -> Iterator[Report]:
        key, blocks = element
        shard = plan_shards(self._config)[key]
        name = shard_name(shard.split, shard.index, shard.count, self._config.format)
        vocabulary = fetch_vocabulary(self._config.output, self._fingerprint)
        counts: Counter[str] = Counter()

        def count(parts: Iterable[tuple[Columns, Counter[str]]]) -> Iterator[Columns]:
            for columns, part in parts:
                counts.update(part)
                yield columns

        with tempfile.TemporaryDirectory(prefix="bertmill-") as own:
            parts = count(build_shard(_store(blocks, own), self._config, vocabulary))
            first = next(parts)
            schema = schema_of(first)
            info = write_shard_parts(
                self._config.output,
                name,
                chain([first], parts),
                schema,
                self._config.format,
                self._write,
            )
        yield Report(counts, shard.split, info, schema)


def _store(blocks: Iterable[TokenBlock | StoredBlock], folder: str) -> StoredDocuments:
    """The documents of a shard, those that came through Beam stored in a folder of this worker."""
    file = BlockFile(folder)
    stored = [block if isinstance(block, StoredBlock) else file.append(block) for block in blocks]
    file.close()
    return StoredDocuments(stored)
