"""The steps whose cost is in how small the pieces are that move: see scale_steps.py."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from typing import Any

import numpy as np
from apache_beam.coders import registry

from pipelines.documents.blocks import BLOCK_BYTES
from pipelines.records.ragged import Columns, Ragged
from pipelines.tokenize import find_near_duplicates, transforms
from pipelines.tokenize.near_duplicates import large_star
from pipelines.tokenize.stored_blocks import store_tables
from tests.benchmarks.scale_steps import DOCUMENT_BYTES, ID_BYTES, Came, Size, Step

_MOVED_TEXT = 400_000_000
# Documents like others, in clusters of so many; and how many bands find each pair.
_ALIKE, _CLUSTER, _FOUND = 0.2, 5, 10
_CODER = registry.get_coder(tuple[int, Any])


def move_documents(size: Size) -> Step:
    """Documents of 400 MB of text: gathered, cut by shard, sent as Beam does, and joined."""
    step = transforms.TokenizeBlocks(
        size.tokenizing(), "", None, frozenset(range(size.shards)), None
    )
    random = np.random.default_rng(0)
    number, tokens = BLOCK_BYTES // DOCUMENT_BYTES, int(DOCUMENT_BYTES * ID_BYTES / 2)
    ids = Ragged(np.zeros(number * tokens, np.uint16), np.arange(number + 1) * tokens)
    yield 0
    step.start_bundle()
    moved = pieces = 0

    def cut() -> Iterator[Any]:
        for _ in range(_MOVED_TEXT // BLOCK_BYTES):
            doc_ids = random.integers(0, 1 << 63, number).astype(np.uint64)
            step._held.append(
                {"token_ids": Ragged(ids.values.copy(), ids.offsets), "doc_ids": doc_ids}
            )
            step._held_tokens += len(ids.values)
            if step._held_tokens >= step._tokens_to_cut:
                yield from step._cut()
        if step._held:
            yield from step._cut()

    def arriving() -> Iterator[Columns]:
        nonlocal moved, pieces
        for element in cut():
            encoded = _CODER.encode(element)
            moved, pieces = moved + len(encoded), pieces + 1
            yield _CODER.decode(encoded)[1]

    with tempfile.TemporaryDirectory() as folder:
        store_tables(arriving(), folder)
    yield Came(moved, pieces)


def tie_a_part(size: Size) -> Step:
    """Near-duplicates: the first round's links of a part, where a fifth of all documents are in clusters
    of five and ten bands find each pair."""
    parts = find_near_duplicates.parts_of_links(size.shards)
    clusters = max(1, int(size.text / DOCUMENT_BYTES * _ALIKE / _CLUSTER / parts))
    random = np.random.default_rng(0)
    # Of a part's documents a fifth are the smallest of their cluster, with links to all others.
    least = random.integers(0, 1 << 62, clusters).astype(np.uint64)
    others = random.integers(1 << 62, 1 << 63, (_CLUSTER - 1) * clusters).astype(np.uint64)
    far = random.integers(0, 1 << 62, len(others)).astype(np.uint64)
    at, other = np.append(np.repeat(least, _CLUSTER - 1), others), np.append(others, far)
    rows = np.array_split(random.permutation(np.tile(np.arange(len(at)), _FOUND)), parts)
    encoded = [_CODER.encode((0, {"at": at[r], "other": other[r]})) for r in rows if len(r)]
    step = find_near_duplicates._Step(size.tokenizing(deduplicate="near"), None, large_star)
    yield 0
    step.start_bundle()
    sent = [*map(_CODER.encode, step.process((0, (_CODER.decode(one)[1] for one in encoded))))]
    yield Came(sum(map(len, encoded)), len(sent))
