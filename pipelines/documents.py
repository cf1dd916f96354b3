"""Documents: from the bytes of input files to blocks of documents.

A block holds the UTF-8 text of many documents in one buffer, with offsets and one ``doc_id`` each.
The id is a hash of the text: it depends neither on the file nor on the order. Nothing here knows
Beam. Lines end at ``\\n`` only: real text holds U+0085 and other characters that Python's
``splitlines`` breaks at.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import itertools
import lzma
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from pipelines import files
from pipelines.columns import offsets_of
from pipelines.errors import UserError

FORMATS = ("auto", "text", "jsonl", "parquet", "wikiextractor")
BOUNDARIES = ("line", "blank_line", "file")

# A block is large enough that the cost per block vanishes, small enough that a worker holds many.
BLOCK_BYTES = 1 << 20
# Uncompressed files of lines are cut into ranges of this size, so that workers share one file.
RANGE_BYTES = 32 << 20

_EXTENSIONS = {
    ".jsonl": "jsonl",
    ".json": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".txt": "text",
    ".text": "text",
}
_COMPRESSIONS = (".gz", ".bz2", ".zst")
_WIKI_START = re.compile(rb"<doc [^\n]*>\s*$")


@dataclass(frozen=True)
class DocumentBlock:
    """n documents: ``text`` is their joined UTF-8; document i is ``text[offsets[i]:offsets[i+1]]``.

    ``offsets`` int64[n + 1], ``doc_ids`` uint64[n]; ``counts`` says what was read and dropped on the
    way to this block (``documents_in``, ``documents_dropped_*``, ``bytes_in``).
    """

    text: bytes
    offsets: NDArray[np.int64]
    doc_ids: NDArray[np.uint64]
    counts: Counter[str] = field(default_factory=Counter)

    def __len__(self) -> int:
        return len(self.doc_ids)

    def texts(self) -> list[str]:
        """The documents as strings."""
        ends = self.offsets.tolist()
        return [self.text[start:end].decode() for start, end in itertools.pairwise(ends)]


@dataclass(frozen=True)
class InputFormat:
    """How documents stand in files (the fields of the stages' configs that say so)."""

    input_format: str = "auto"
    text_field: str = "text"
    document_boundary: str = "line"
    on_bad_record: str = "fail"


@dataclass(frozen=True)
class FileRange:
    """The lines of a file that begin at byte ``start`` <= position < ``end`` (None: to the end)."""

    path: str
    start: int = 0
    end: int | None = None


class BadRecord(Exception):  # noqa: N818 - it is a record, dropped or reported
    """A record that is no document: ``reason`` is a counter's name, the message tells the user."""

    def __init__(self, reason: str, message: str):
        super().__init__(message)
        self.reason = reason


def content_id(text: bytes) -> int:
    """The ``doc_id`` of a document: 64 bits of the BLAKE2b hash of its UTF-8 text."""
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")


def make_block(texts: list[bytes], counts: Counter[str] | None = None) -> DocumentBlock:
    """A block of the given UTF-8 texts, in that order."""
    return DocumentBlock(
        b"".join(texts),
        offsets_of(np.array([len(text) for text in texts], np.int64)),
        np.array([content_id(text) for text in texts], np.uint64),
        Counter() if counts is None else counts,
    )


def _extension(path: str) -> tuple[str, str]:
    """The extension of the content and of the compression, lower case ('' if none)."""
    name = path.rsplit("/", 1)[-1].lower()
    compression = next((end for end in _COMPRESSIONS if name.endswith(end)), "")
    name = name[: len(name) - len(compression)]
    dot = name.rfind(".")
    return (name[dot:] if dot > 0 else ""), compression


def open_content(path: str) -> IO[bytes]:
    """Opens a file for reading its decompressed bytes (by extension: .gz, .bz2, .zst)."""
    raw = files.open_read(path)
    compression = _extension(path)[1]
    if compression == ".gz":
        return gzip.GzipFile(fileobj=raw)  # type: ignore[return-value]
    if compression == ".bz2":
        return bz2.BZ2File(raw)
    if compression == ".zst":
        return io.BufferedReader(_ZstdFrames(raw), 1 << 20)
    return raw


class _ZstdFrames(io.RawIOBase):
    """The content of zstd frames; unlike zstandard's own reader it notices a truncated file."""

    def __init__(self, raw: IO[bytes]):
        import zstandard

        self._raw = raw
        self._decompressor = zstandard.ZstdDecompressor()
        self._frame = self._decompressor.decompressobj()
        self._inside = False
        self._ready = memoryview(b"")
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready:
            chunk = self._rest or self._raw.read(1 << 17)
            if not chunk:
                if self._inside:
                    raise EOFError("the file ends inside a zstd frame")
                return 0
            if self._frame.eof:
                self._frame = self._decompressor.decompressobj()
            self._ready = memoryview(self._frame.decompress(chunk))
            self._rest = self._frame.unused_data if self._frame.eof else b""
            self._inside = not self._frame.eof
        size = min(len(buffer), len(self._ready))
        buffer[:size] = self._ready[:size]
        self._ready = self._ready[size:]
        return size

    def close(self) -> None:
        self._raw.close()
        super().close()


def resolve_format(path: str, input_format: str) -> str:
    """The format of one file: as asked, else by its extension, else by how it begins."""
    if input_format != "auto":
        return input_format
    known = _EXTENSIONS.get(_extension(path)[0])
    if known:
        return known
    with _named_errors(path), open_content(path) as content:
        head = content.read(4096).lstrip(b"\xef\xbb\xbf \t\r\n")
    if head.startswith(b"{"):
        return "jsonl"
    if head.startswith(b"PAR1"):
        return "parquet"
    if head.startswith(b"<doc "):
        return "wikiextractor"
    return "text"


def plan_ranges(found: Iterable[files.FileInfo], options: InputFormat) -> list[FileRange]:
    """Cuts the files into pieces that can be read independently."""
    ranges = []
    for info in found:
        kind = resolve_format(info.path, options.input_format)
        splittable = not _extension(info.path)[1] and (
            kind == "jsonl" or (kind == "text" and options.document_boundary == "line")
        )
        if splittable and info.size > RANGE_BYTES:
            edges = [*range(0, info.size, RANGE_BYTES), None]
            ranges += [
                FileRange(info.path, start or 0, end) for start, end in itertools.pairwise(edges)
            ]
        else:
            ranges.append(FileRange(info.path))
    return ranges


def read_blocks(where: FileRange, options: InputFormat) -> Iterator[DocumentBlock]:
    """The documents of a file range, in blocks of about ``BLOCK_BYTES``.

    Texts of white space only are dropped and counted; bad records raise UserError with file and
    line, or are dropped and counted with ``on_bad_record='drop'``. The last block may be empty: it
    carries the remaining counts.
    """
    texts: list[bytes] = []
    counts: Counter[str] = Counter()
    size = 0
    for record in _records(where, options):
        counts["documents_in"] += 1
        if isinstance(record, BadRecord):
            if options.on_bad_record == "fail":
                raise UserError(f"{record}, or drop such records with --on_bad_record drop")
            counts[f"documents_dropped_{record.reason}"] += 1
            continue
        counts["bytes_in"] += len(record)
        if not record.strip():
            counts["documents_dropped_empty"] += 1
            continue
        texts.append(record)
        size += len(record)
        if size >= BLOCK_BYTES:
            yield make_block(texts, counts)
            texts, counts, size = [], Counter(), 0
    yield make_block(texts, counts)


def _records(where: FileRange, options: InputFormat) -> Iterator[bytes | BadRecord]:
    """The UTF-8 text of each document of a range, or why there is none."""
    kind = resolve_format(where.path, options.input_format)
    with _named_errors(where.path):
        if kind == "parquet":
            yield from _parquet_texts(where.path, options.text_field)
        elif kind == "jsonl":
            for offset, number, line in _lines(where):
                if line.strip():
                    yield _json_text(line, options.text_field, where, offset, number)
        elif kind == "wikiextractor":
            yield from _wiki_texts(where)
        else:
            yield from _plain_texts(where, options.document_boundary)


def _lines(where: FileRange) -> Iterator[tuple[int, int, bytes]]:
    """(byte offset, line number within the range from 1, line without its end) of each line."""
    with open_content(where.path) as content:
        position = where.start
        if where.start:
            # A line belongs to the range it begins in; the byte before tells if one begins here.
            content.seek(where.start - 1)
            position += len(content.readline()) - 1
        number = 0
        while where.end is None or position < where.end:
            line = content.readline()
            if not line:
                return
            number += 1
            text = line[:-1] if line.endswith(b"\n") else line
            text = text[:-1] if text.endswith(b"\r") else text
            if position == 0 and text.startswith(b"\xef\xbb\xbf"):
                text = text[3:]
            yield position, number, text
            position += len(line)


def _place(where: FileRange, number: int) -> str:
    """``file:line``; the lines before a range are counted only now that someone needs them."""
    before = 0
    if where.start:
        with open_content(where.path) as content:
            remaining = where.start
            while remaining > 0 and (chunk := content.read(min(1 << 20, remaining))):
                before += chunk.count(b"\n")
                remaining -= len(chunk)
            content.seek(where.start - 1)
            before += content.read(1) != b"\n"
    return f"{where.path}:{before + number}"


def _utf8(text: bytes, where: FileRange, number: int) -> bytes | BadRecord:
    try:
        text.decode()
    except UnicodeDecodeError as error:
        return BadRecord(
            "invalid_utf8",
            f"{_place(where, number)}: not valid UTF-8 (byte 0x{text[error.start]:02x} at position "
            f"{error.start} of the record); convert the file, e.g. with iconv",
        )
    return text


def _json_text(
    line: bytes, text_field: str, where: FileRange, offset: int, number: int
) -> bytes | BadRecord:
    import orjson

    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        text = _utf8(line, where, number)
        if isinstance(text, BadRecord):
            return text
        return BadRecord(
            "invalid_json", f"{_place(where, number)}: not valid JSON ({error}); mend the line"
        )
    return _field_text(record, text_field, lambda: _place(where, number))


def _field_text(record: Any, text_field: str, place: Any) -> bytes | BadRecord:
    if not isinstance(record, dict):
        return BadRecord("invalid_json", f"{place()}: expected a JSON object on the line; mend it")
    if text_field not in record:
        fields = ", ".join(map(str, record)) or "none"
        return BadRecord(
            "missing_field",
            f"{place()}: no field {text_field!r} (fields: {fields}); name it with --text_field",
        )
    text = record[text_field]
    if not isinstance(text, str):
        return BadRecord(
            "not_text",
            f"{place()}: field {text_field!r} holds {type(text).__name__}, not text; "
            "mend the record or name another field with --text_field",
        )
    return text.encode()


def _wiki_texts(where: FileRange) -> Iterator[bytes | BadRecord]:
    """The articles between ``<doc …>`` and ``</doc>``, without the title line they begin with."""
    article: list[bytes] | None = None
    started = 0
    for _, number, line in _lines(where):
        if article is None:
            if _WIKI_START.match(line):
                article, started = [], number
            elif line.strip():
                yield BadRecord(
                    "outside_article",
                    f"{_place(where, number)}: text outside <doc …> and </doc>; "
                    "is this WikiExtractor output? choose the --input_format",
                )
        elif line.strip() == b"</doc>":
            # WikiExtractor repeats the title as the first line, followed by an empty one.
            body = article[2:] if len(article) > 1 and not article[1].strip() else article
            yield _utf8(b"\n".join(body).strip(b"\n"), where, started)
            article = None
        else:
            article.append(line)
    if article is not None:
        yield BadRecord(
            "unfinished_article",
            f"{_place(where, started)}: the article that begins here has no </doc>; "
            "the file is truncated, make it again",
        )


def _plain_texts(where: FileRange, boundary: str) -> Iterator[bytes | BadRecord]:
    if boundary == "line":
        for _, number, line in _lines(where):
            yield _utf8(line, where, number)
        return
    paragraph: list[bytes] = []
    started = 1
    for _, number, line in _lines(where):
        if boundary == "blank_line" and not line.strip():
            if paragraph:
                yield _utf8(b"\n".join(paragraph), where, started)
            paragraph = []
            continue
        if not paragraph:
            started = number
        paragraph.append(line)
    if paragraph:
        yield _utf8(b"\n".join(paragraph), where, started)


def _parquet_texts(path: str, text_field: str) -> Iterator[bytes | BadRecord]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with files.open_read(path) as raw:
        table = pq.ParquetFile(raw)
        names = table.schema_arrow.names
        if text_field not in names:
            raise UserError(
                f"{path}: no column {text_field!r} (columns: {', '.join(names)}); "
                "name it with --text_field"
            )
        kind = table.schema_arrow.field(text_field).type
        if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
            raise UserError(
                f"{path}: column {text_field!r} holds {kind}, not text; "
                "name another with --text_field"
            )
        number = 0
        for batch in table.iter_batches(batch_size=1024, columns=[text_field]):
            for value in batch.column(0).to_pylist():
                number += 1
                if value is None:
                    yield BadRecord(
                        "not_text",
                        f"{path}: row {number} of column {text_field!r} is null; mend it",
                    )
                else:
                    yield value.encode()


class _named_errors:  # noqa: N801 - a context manager, used like a function
    """Turns the many errors of damaged or unreadable files into one line with the file's name."""

    def __init__(self, path: str):
        self.path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if error is None or isinstance(error, UserError | GeneratorExit):
            return
        damaged: tuple[type[BaseException], ...] = (EOFError, zlib.error, lzma.LZMAError)
        with_zstd = type(error).__name__ in ("ZstdError", "ArrowInvalid", "BadGzipFile")
        if isinstance(error, damaged) or with_zstd:
            reason = " ".join(str(error).split())
            raise UserError(
                f"{self.path}: damaged or truncated ({reason}); fetch or make the file again"
            ) from None
        if isinstance(error, PermissionError | FileNotFoundError | IsADirectoryError):
            raise UserError(f"{self.path}: cannot be read: {error.strerror}") from None
        if isinstance(error, OSError):
            raise UserError(
                f"{self.path}: cannot be read or is damaged ({' '.join(str(error).split())})"
            ) from None
