"""A file that grows while a run trains, on a disk or on an object store, where nothing can grow.

On a disk, what is written is appended at once. At ``gs://`` it is kept in memory, and ``publish``
puts the whole file there, which readers see as it was before or as it is now, never half of it.
"""

from __future__ import annotations

import contextlib
import threading
from typing import IO

from pipelines import files


class GrowingFile:
    """A file with some content to begin with."""

    def __init__(self, path: str, content: bytes):
        """Puts a new file with ``content`` in the place of an old one; remote: at ``publish``."""
        self._path = path
        self._publishing = threading.Lock()
        self._file: IO[bytes] | None = None
        self._content = bytearray()
        self._published = -1
        if files.is_remote(path):
            self._content += content
        else:
            files.publish_bytes(path, content)
            self._file = open(path, "ab")  # noqa: SIM115 - kept open

    def write(self, data: bytes) -> None:
        """Adds to the end. Raises OSError where the disk is full."""
        if self._file is None:
            self._content += data
        else:
            self._file.write(data)
            self._file.flush()

    def publish(self) -> None:
        """Makes a remote file show all that was written before; others always do.

        May be called from any thread: a newer state is never replaced by an older one. Raises
        UserError if the store cannot be written to.
        """
        if self._file is not None:
            return
        with self._publishing:
            content = bytes(self._content)
            if len(content) != self._published:
                files.publish_bytes(self._path, content)
                self._published = len(content)

    def close(self) -> None:
        """Ends writing. All of a local file is there already; a remote one is not published."""
        if self._file is not None:
            # A full disk has been told of by ``write``; what it could not hold is lost.
            with contextlib.suppress(OSError):
                self._file.close()
