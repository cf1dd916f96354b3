"""A file that grows while a run trains, on a disk or on an object store, where nothing can grow.

On a disk, what is written is appended at once. At ``gs://`` it is kept in memory, and the whole file
is put there now and then and by ``publish``: readers see it as it was before or as it is now, never
half of it.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from typing import IO

from pipelines import files
from pipelines.errors import UserError

# Between calls of ``publish``, a remote file is at most about this far behind.
_SECONDS_BETWEEN_UPLOADS = 30


class GrowingFile:
    """A file with some content to begin with."""

    def __init__(self, path: str, content: bytes):
        """Puts a new file with ``content`` in the place of an old one; remote: at ``publish``."""
        self._path = path
        self._file: IO[bytes] | None = None
        self._content = bytearray()
        self._publishing = threading.Lock()
        self._published = -1  # bytes; nothing yet, not even an empty file
        self._upload: threading.Thread | None = None
        self._upload_began = time.monotonic()
        if files.is_remote(path):
            self._content += content
        else:
            files.publish_bytes(path, content)
            self._file = open(path, "ab")  # noqa: SIM115 - kept open

    def write(self, data: bytes) -> None:
        """Adds to the end. Raises OSError where the disk is full."""
        if self._file is not None:
            self._file.write(data)
            self._file.flush()
            return
        self._content += data
        now = time.monotonic()
        uploading = self._upload is not None and self._upload.is_alive()
        if now - self._upload_began > _SECONDS_BETWEEN_UPLOADS and not uploading:
            self._upload_began = now
            self._upload = threading.Thread(target=self._try_to_publish)
            self._upload.start()

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

    def _try_to_publish(self) -> None:
        # Only for who watches: where the store stays away, the next checkpoint says so.
        with suppress(UserError, OSError):
            self.publish()

    def close(self) -> None:
        """Ends writing. What of a remote file cannot be published is lost."""
        if self._upload is not None:
            self._upload.join()
        self._try_to_publish()
        if self._file is not None:
            # A full disk has been told of by ``write``; what it could not hold is lost.
            with suppress(OSError):
                self._file.close()
