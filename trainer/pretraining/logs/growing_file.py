"""A file that grows while a run trains, on a disk or on an object store, where nothing can grow.

On a disk, what is written is appended at once. At ``gs://`` it is kept in memory, and the whole file
is uploaded now and then and by ``publish``: readers see it as it was before or as it is now, never
half of it.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import IO

from pipelines.errors import UserError
from pipelines.storage import files

# Between calls of ``publish``, a remote file is at most about this far behind.
_SECONDS_BETWEEN_UPLOADS = 30


class GrowingFile:
    """A file with some content to begin with, which replaces an older one; remote: at ``publish``."""

    def __init__(self, path: str, content: bytes):
        self._path, self._content = path, bytearray(content)
        self._file: IO[bytes] | None = None
        if not files.is_remote(path):
            files.publish_bytes(path, content)
            self._file = open(path, "ab")  # noqa: SIM115 - kept open
        self._publishing = threading.Lock()
        self._published = -1  # bytes; nothing yet, not even an empty file
        self._uploads = ThreadPoolExecutor(1)
        self._upload: Future[None] | None = None
        self._upload_began = time.monotonic()

    def write(self, data: bytes) -> None:
        """Adds to the end. Raises OSError where the disk is full."""
        if self._file is not None:
            self._file.write(data)
            self._file.flush()
            return
        self._content += data
        now = time.monotonic()
        uploading = self._upload is not None and not self._upload.done()
        if now - self._upload_began > _SECONDS_BETWEEN_UPLOADS and not uploading:
            self._upload_began = now
            # Only for who watches the run: if it fails, the next checkpoint raises the error.
            self._upload = self._uploads.submit(self.publish)

    def publish(self) -> None:
        """Makes a remote file show all that was written before; others always do.

        May be called from any thread: a newer state is never replaced by an older one. Raises
        UserError if the store cannot be written to.
        """
        with self._publishing:
            content = bytes(self._content)
            if self._file is None and len(content) != self._published:
                files.publish_bytes(self._path, content)
                self._published = len(content)

    def close(self) -> None:
        """Ends writing. What can no longer be uploaded, or does not fit on the disk, is lost:
        ``write`` and checkpoints have raised the error."""
        self._uploads.shutdown()
        with suppress(UserError, OSError):
            self.publish()
        with suppress(OSError):
            if self._file is not None:
                self._file.close()
