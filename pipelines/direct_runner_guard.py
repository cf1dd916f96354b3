"""Keeps Beam's local runner from losing data when it has more than one worker.

In Beam (2.77 and before) the local runner's data streams are flushed every second by a thread that
takes what is in the buffer and then empties it, without a lock against the thread that writes
(``TimeBasedBufferingClosableOutputStream``): what is written between the two is gone without a word.
Over 300 MB of Wikipedia on two workers, five runs lost 40 to 100 of 17,229 documents, or counts, or
both alike. Without the timer the streams are flushed by size and at the end, which is all that a
batch needs. A Beam without this setting is left alone; ``read_documents.check_reading`` keeps books
that do not depend on what arrives.
"""

from __future__ import annotations


def guard_direct_runner() -> None:
    """Switches the timed flush off for pipelines that this process runs locally."""
    from apache_beam.runners.portability.fn_api_runner import worker_handlers

    if hasattr(worker_handlers, "DATA_BUFFER_TIME_LIMIT_MS"):
        worker_handlers.DATA_BUFFER_TIME_LIMIT_MS = 0
