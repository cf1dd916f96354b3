"""One more file of a kind, by its name: mutated as bytes, or in what its format holds."""

from __future__ import annotations

import bz2
import gzip
import zlib
from collections.abc import Callable
from random import Random

from tests.fuzz.mutate_arrays import mutate_hdf5, mutate_npz, mutate_parquet, mutate_safetensors
from tests.fuzz.mutate_bytes import mutate_bytes
from tests.fuzz.mutate_json import mutate_json, mutate_json_lines

COMPRESSIONS = ("gz", "bz2", "zst")
_STRUCTURES: dict[str, Callable[[bytes, Random], bytes]] = {
    ".json": mutate_json,
    ".jsonl": mutate_json_lines,
    ".npz": mutate_npz,
    ".safetensors": mutate_safetensors,
    ".h5": mutate_hdf5,
    ".parquet": mutate_parquet,
}


def mutate_file(name: str, content: bytes, draw: Random) -> bytes:
    """The content of a file of this name after some changes, most of them within its format."""
    stem, _, end = name.rpartition(".")
    if end in COMPRESSIONS and draw.random() < 0.5:
        return compress(mutate_file(stem, decompress(content, end), draw), end, draw)
    change = _STRUCTURES.get(f".{end}")
    if change is None or draw.random() < 0.4:
        return mutate_bytes(content, draw)
    try:
        return change(content, draw)
    except Exception:  # no longer what a library would write
        return mutate_bytes(content, draw)


def compress(content: bytes, end: str, draw: Random) -> bytes:
    """The content in one part or two, as appending makes them."""
    at = draw.choice((len(content), draw.randint(0, len(content))))
    parts = [content[:at], content[at:]] if at < len(content) else [content]
    return b"".join(_pack(part, end) for part in parts)


def decompress(content: bytes, end: str) -> bytes:
    """What is in a file whose name ends so. Raises EOFError, OSError or zlib.error if it is damaged."""
    if end == "gz":
        return gzip.decompress(content)
    if end == "bz2":
        return bz2.decompress(content)
    import pyarrow as pa

    return pa.CompressedInputStream(pa.BufferReader(content), "zstd").read()


def _pack(content: bytes, end: str) -> bytes:
    if end == "gz":
        return gzip.compress(content, 1, mtime=0)
    if end == "bz2":
        return bz2.compress(content, 1)
    import pyarrow as pa

    return pa.Codec("zstd").compress(content, asbytes=True)


DAMAGED = (EOFError, OSError, ValueError, zlib.error)
