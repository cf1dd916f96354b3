"""Input files as they are stored: plain, .gz, .bz2 or .zst, and one clear line for damaged ones."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from pipelines.errors import UserError
from pipelines.storage import files

_COMPRESSIONS = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd"}
_BUFFER = 1 << 20
# How files begin that are something else than their names say.
_SIGNATURES = {
    rb"\x1f\x8b\x08": "compressed with gzip; name it .gz",
    rb"BZh[1-9]1AY&SY": "compressed with bzip2; name it .bz2",
    rb"\x28\xb5\x2f\xfd": "compressed with zstd; name it .zst",
    rb"\xfd7zXZ\x00": "compressed with xz; compress it with gzip, bzip2 or zstd instead",
    rb"PK\x03\x04": "an archive (zip); unpack it",
    rb"7z\xbc\xaf\x27\x1c": "an archive (7z); unpack it",
    rb"(?s)(?=.{257}ustar)[^\x00]{1,256}\x00": "an archive (tar); unpack it",
    rb"ARROW1\x00": "an Arrow file; convert it to Parquet",
}


def split_extension(path: str) -> tuple[str, str]:
    """The extension of the content and of the compression, lower case ('' if none)."""
    name = path.rsplit("/", 1)[-1].lower()
    compression = next((end for end in _COMPRESSIONS if name.endswith(end)), "")
    name = name[: len(name) - len(compression)]
    dot = name.rfind(".")
    return (name[dot:] if dot > 0 else ""), compression


def open_content(path: str, raw: IO[bytes] | None = None) -> IO[bytes]:
    """Opens a file for reading its decompressed bytes (by extension: .gz, .bz2, .zst).

    ``raw``: the file as it is stored, if the caller has opened it.
    """
    raw = files.open_read(path) if raw is None else raw
    compression = split_extension(path)[1]
    if not compression:
        return raw
    import pyarrow as pa

    # Arrow notices every truncated file, and is twice as fast as the standard library.
    stream = pa.CompressedInputStream(pa.PythonFile(raw, "r"), _COMPRESSIONS[compression])
    return io.BufferedReader(stream, _BUFFER)


def refuse_other_content(path: str, head: bytes) -> None:
    """Raises UserError if decompressed content begins like an archive or like compressed data.

    ``head``: the first 512 bytes, or a first line, which those formats do not break earlier.
    """
    for signature, kind in _SIGNATURES.items():
        if re.match(signature, head):
            raise UserError(f"{path}: this is no text but {kind}")


@contextmanager
def named_errors(path: str) -> Iterator[None]:
    """Turns the many errors of damaged or unreadable files into one line with the file's name."""
    try:
        yield
    except (PermissionError, FileNotFoundError, IsADirectoryError) as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    except OSError as error:
        reason = " ".join(str(error).split())
        if error.errno is not None:
            raise UserError(f"{path}: cannot be read or is damaged ({reason})") from None
        raise UserError(
            f"{path}: damaged or truncated ({reason}); fetch or make the file again"
        ) from None
