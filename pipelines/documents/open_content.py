"""Input files as they are stored: plain, .gz, .bz2 or .zst, and one clear line for damaged ones."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from typing import IO, Any

from pipelines import files
from pipelines.errors import UserError

_COMPRESSIONS = (".gz", ".bz2", ".zst")


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


class named_errors:  # noqa: N801 - a context manager, used like a function
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
