"""The steps of the pipelines, each with what one worker of many gets to hold: made-up words and ids.

Each is a generator: what it yields first, once its input is made or can be made piece by piece, is when
measuring begins; then, in bytes, what came in for one key, which some engines keep in memory beside, and
if need be into how many pieces it was cut.
"""

from __future__ import annotations

import pickle
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from array_record.python.array_record_module import ArrayRecordReader

from pipelines.documents.blocks import BLOCK_BYTES, make_block
from pipelines.mask.config import MaskStageConfig
from pipelines.mask.pipeline import MaskShard, Work
from pipelines.records.codec import Field
from pipelines.records.manifest import Manifest
from pipelines.records.ragged import Columns, Ragged, offsets_of
from pipelines.records.shards import ShardInfo, file_sha256
from pipelines.stage import Report, add_counts
from pipelines.storage.files import FileInfo, make_folder
from pipelines.text.vocabulary import Vocabulary
from pipelines.text.vocabulary_source import save_vocabulary
from pipelines.tokenize import find_near_duplicates, transforms
from pipelines.tokenize.config import TokenizeConfig
from pipelines.tokenize.near_duplicates import link_alike
from pipelines.tokenize.shard_count import count_shards, estimate_id_bytes
from pipelines.tokenize.signatures import HASHES
from pipelines.vocab import count_words

_SIZE = 30522
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_PIECES = [*_LETTERS, *(f"##{a}{b}" for a in _LETTERS for b in ["", *_LETTERS])]
_VOCABULARY = Vocabulary(
    (
        *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *_PIECES),
        *(f"p{i}" for i in range(_SIZE - 5 - len(_PIECES))),
    )
)
# Bytes of a document of the web, and of the token ids of a byte of English text.
DOCUMENT_BYTES, ID_BYTES = 4000, 0.423


class Came(NamedTuple):
    """What came in for a step, in bytes, and the pieces that it sends on."""

    size: int
    pieces: int | str = ""


Step = Iterator[int | Came]


@dataclass(frozen=True)
class Size:
    """So much text, and where shards of rows may be written."""

    terabytes: float
    folder: str

    @property
    def text(self) -> int:
        return int(self.terabytes * 1e12)

    @property
    def distinct_words(self) -> int:
        return self.text // 1000

    @property
    def partitions(self) -> int:
        return count_words.count_partitions([FileInfo("text.jsonl", self.text, 0.0)])

    @property
    def shards(self) -> int:
        return count_shards(estimate_id_bytes(self.text, _SIZE))

    @property
    def shard_ids(self) -> int:
        """Bytes of token ids of a shard."""
        return int(self.text * ID_BYTES / self.shards)

    def tokenizing(self, **fields: Any) -> TokenizeConfig:
        common: dict[str, Any] = {"input": ("x",), "vocab": "x", "output": self.folder}
        return TokenizeConfig(num_shards=self.shards, **common, **fields)


def tokenize_in_a_worker(size: Size) -> Step:
    save_vocabulary(size.folder, _VOCABULARY)
    config = size.tokenizing()
    keys = frozenset(range(size.shards))
    step = transforms.TokenizeBlocks(config, _VOCABULARY.fingerprint, None, keys, None)
    random = np.random.default_rng(0)
    yield 0
    step.start_bundle()
    for _ in range(24):
        letters = random.integers(97, 123, (BLOCK_BYTES // DOCUMENT_BYTES, DOCUMENT_BYTES))
        letters[random.random(letters.shape) < 0.15] = ord(" ")
        count_elements(
            step.process(make_block([row.tobytes() for row in letters.astype(np.uint8)]))
        )
    count_elements(step.finish_bundle())
    yield 0


def write_a_shard(size: Size) -> Step:
    yield from _write_a_shard(size, "documents", int(DOCUMENT_BYTES * ID_BYTES / 2))


def write_a_shard_of_examples(size: Size) -> Step:
    yield from _write_a_shard(size, "examples", 25)


def _write_a_shard(size: Size, packing: str, mean: int) -> Step:
    """A shard's tables, in the pieces that workers cut, of documents of so many tokens on average."""
    save_vocabulary(size.folder, _VOCABULARY)
    labels = {"label_field": "label"} if packing == "examples" else {}
    config = size.tokenizing(packing=packing, **labels)
    step = transforms.WriteShard(config, _VOCABULARY.fingerprint, apart=False)
    documents = max(1, transforms.tokens_to_cut(size.shards) // size.shards // mean)
    random = np.random.default_rng(0)
    yield 0

    def tables() -> Iterator[Columns]:
        left = size.shard_ids // 2
        while left > 0:
            offsets = offsets_of(random.integers(1, 2 * mean, documents))
            rows = np.arange(documents + 1)
            ids = random.zipf(1.3, offsets[-1]) % (_SIZE - 5) + 5
            table: Columns = {
                "token_ids": Ragged(ids.astype(np.uint16), offsets),
                "doc_ids": random.integers(0, 1 << 63, documents).astype(np.uint64),
            }
            if packing == "examples":
                table["text_lengths"] = Ragged(np.diff(offsets), rows)
                table["label"] = Ragged(np.full(documents, ord("a"), np.uint8), rows)
                table["tokens_cut"] = np.zeros(documents, np.uint32)
            left -= int(offsets[-1])
            yield table

    (report,) = step.process((0, tables()))
    assert report.counts["tokens_out"] * 2 >= size.shard_ids
    yield size.shard_ids


def mask_a_shard(size: Size) -> Step:
    """The shard that ``write_a_shard`` left."""
    (path,) = Path(size.folder).glob("train-00000-*")
    reader = ArrayRecordReader(str(path))
    shard = ShardInfo(path.name, reader.num_records(), path.stat().st_size, file_sha256(str(path)))
    schema = (
        *(Field("row_id", "uint64"), Field("token_ids", "uint16", True)),
        *(Field("segment_lengths", "uint16", True), Field("doc_ids", "uint64", True)),
    )
    facts = {"seq_length": 512, "format": "array_record"}
    rows = Manifest("tokenize", {}, {}, facts, schema, {"train": (shard,)})
    config = MaskStageConfig(input=size.folder, output=f"{size.folder}/masked")
    make_folder(config.output)
    step = MaskShard(rows, config, _VOCABULARY)
    yield 0
    count_elements(step.process(Work("train", shard, 0, "train-00000-of-00001.array_record")))
    yield 0


def link_a_part(size: Size) -> Step:
    """Near-duplicates: a part's entries of bands, a fifth of them in pairs."""
    config = size.tokenizing(deduplicate="near")
    parts = find_near_duplicates.parts_of_bands(size.shards)
    entries = size.text // DOCUMENT_BYTES * config.near_bands // parts
    random = np.random.default_rng(0)
    yield 0
    pairs = entries // 10

    def tables() -> Iterator[Columns]:
        for at in range(0, entries, pairs):
            number = min(pairs, entries - at)
            # The second tenth has the keys and the signatures of the first.
            drawn = np.random.default_rng(0 if at <= pairs else at)
            yield {
                "key": drawn.integers(0, 1 << 63, number).astype(np.uint64),
                "packed": drawn.integers(0, 256, (number, HASHES // 4)).astype(np.uint8),
                "doc_ids": random.integers(0, 1 << 63, number).astype(np.uint64),
            }

    link = partial(link_alike, similarity=config.near_similarity)
    step = find_near_duplicates._Step(config, None, link)
    step.start_bundle()
    count_elements(step.process((0, tables())))
    yield entries * (8 + 8 + HASHES // 4)


def publish(size: Size) -> Step:
    """What all bundles report, at most one for each range of a file."""
    names = [f"documents_dropped_{i}" for i in range(25)]
    yield 0
    reports = [
        Report(Counter(dict.fromkeys(names, i)), leaks=np.zeros((2, 0), np.uint64))
        for i in range(size.text // (32 << 20))
    ]
    add_counts(reports)
    yield sum(len(pickle.dumps(report)) for report in reports)


def count_elements(elements: Iterable[Any]) -> int:
    """How many there are, of which none is kept."""
    counted = deque(enumerate(elements, 1), maxlen=1)
    return counted[0][0] if counted else 0
