"""Counted words as tables: cut by word, added up, and cut down to the most frequent.

A table has a row a distinct word: ``word`` (its UTF-8), ``count``, and ``held_out``, how many of these
occurrences are of the held-out sample. Between steps it travels as compressed bytes. Every cut is a
total order, so what is left does not depend on how the words were cut, grouped or ordered.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipelines.records.ragged import group_rows, offsets_of

_SCHEMA = pa.schema([("word", pa.large_binary()), ("count", pa.int64()), ("held_out", pa.int64())])
_PACKING = pa.ipc.IpcWriteOptions(compression="zstd", use_threads=False)
# Rows that are gathered, at least, before those of one word are added up.
_ROWS_AT_ONCE = 2_000_000


def cut_by_word(
    counts: Counter[bytes], held_out: Counter[bytes], partitions: int
) -> Iterator[tuple[int, bytes]]:
    """(partition, packed table) of the counted words, each in a partition by itself alone."""
    words = list(counts)
    table = pa.table(
        [
            _strings(words),
            _integers(np.fromiter(counts.values(), np.int64, len(words))),
            _integers(np.fromiter((held_out.get(word, 0) for word in words), np.int64, len(words))),
        ],
        schema=_SCHEMA,
    )
    numbers = np.fromiter(map(zlib.crc32, words), np.uint32, len(words)) % np.uint32(partitions)
    for number, rows in group_rows(numbers):
        yield number, pack(table.take(_integers(rows)))


def pack(table: pa.Table) -> bytes:
    """A table as compressed bytes."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=_PACKING) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def unpack(packed: bytes) -> pa.Table:
    """The table in such bytes."""
    return pa.ipc.open_stream(packed).read_all()


def add_words(parts: Iterable[bytes]) -> pa.Table:
    """One row for each word of packed tables, with the sums of its counts."""
    tables, total = [], _SCHEMA.empty_table()
    rows = 0
    for part in parts:
        tables.append(unpack(part))
        rows += len(tables[-1])
        # Memory follows the distinct words, not how often each of them arrives.
        if rows > max(_ROWS_AT_ONCE, len(total)):
            total, tables, rows = _add_up([total, *tables]), [], 0
    return _add_up([total, *tables])


def merge_frequent(
    tables: Iterable[pa.Table], limit: int, min_count: int = 1
) -> tuple[pa.Table, int]:
    """The most frequent words of tables that have none in common, and the occurrences of the others.

    Up to ``limit`` by (count, word), none below ``min_count``; and of the held-out sample, by which a
    vocabulary is judged, as many by (held_out, word), its rare ones, too.
    """
    merged, dropped = _SCHEMA.empty_table(), 0
    for table in tables:
        joined = pa.concat_tables([merged, table])
        words = joined["word"]
        kept = _commonest(words, joined["count"].to_numpy(), limit, min_count)
        kept |= _commonest(words, joined["held_out"].to_numpy(), limit, 1)
        merged = joined if kept.all() else joined.take(_integers(np.flatnonzero(kept)))
        dropped += int(joined["count"].to_numpy()[~kept].sum())
    return merged, dropped


def by_frequency(table: pa.Table) -> tuple[list[str], NDArray[np.int64], NDArray[np.int64]]:
    """The words, most frequent first and ties by the word, their counts and those held out."""
    order = pc.sort_indices(table, [("count", "descending"), ("word", "ascending")])
    ordered = table.take(order)
    words = ordered["word"].cast(pa.large_string()).to_pylist()
    return words, ordered["count"].to_numpy(), ordered["held_out"].to_numpy()


def _commonest(
    words: pa.ChunkedArray, counts: NDArray[np.int64], limit: int, least: int
) -> NDArray[np.bool_]:
    """Marks up to ``limit`` words, by (count, word); none below ``least``."""
    chosen = counts >= least
    beyond = int(chosen.sum()) - limit
    if beyond > 0:
        edge = np.partition(counts, len(counts) - limit)[len(counts) - limit]
        chosen = counts > edge
        ties = np.flatnonzero(counts == edge)
        by_word = pc.sort_indices(words.take(_integers(ties))).to_numpy()
        chosen[ties[by_word[: limit - int(chosen.sum())]]] = True
    return chosen


def _add_up(tables: list[pa.Table]) -> pa.Table:
    grouped = pa.concat_tables(tables).group_by("word", use_threads=False)
    sums = grouped.aggregate([("count", "sum"), ("held_out", "sum")])
    return pa.table([sums["word"], sums["count_sum"], sums["held_out_sum"]], schema=_SCHEMA)


# Not pa.array(), which imports pandas where that is installed.
def _strings(words: list[bytes]) -> pa.Array:
    offsets = offsets_of(np.fromiter(map(len, words), np.int64, len(words)))
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(b"".join(words))]
    return pa.Array.from_buffers(pa.large_binary(), len(words), buffers)


def _integers(numbers: NDArray[np.int64]) -> pa.Array:
    return pa.Array.from_buffers(pa.int64(), len(numbers), [None, pa.py_buffer(numbers)])
