"""How much text files hold, from their sizes alone: what work is cut by before anything is read."""

from __future__ import annotations

from collections.abc import Sequence

from pipelines.command.run import say
from pipelines.documents.line_ranges import FileRange
from pipelines.documents.open_content import split_extension
from pipelines.storage.files import FileInfo

# Bytes of text in a byte of file. Text of the web and of Wikipedia; a rough guess will do.
_TEXT_IN_FILE = {".gz": 3, ".bz2": 4, ".zst": 3, ".parquet": 2}
# More text in a file than one worker should read alone.
_MUCH_TEXT = 1 << 30


def text_bytes(infos: Sequence[FileInfo]) -> int:
    """The text in the files, in bytes: a function of their names and sizes."""
    total = 0
    for info in infos:
        content, compression = split_extension(info.path)
        total += info.size * _TEXT_IN_FILE.get(compression or content, 1)
    return total


def advise_on_whole_files(
    stage: str, infos: Sequence[FileInfo], ranges: Sequence[FileRange]
) -> None:
    """Names large files of which no part can be read by another worker, if there are any.

    ``ranges``: what is read of the files, each by one worker.
    """
    whole = {where.path for where in ranges if not where.start and where.end is None}
    large = [info for info in infos if info.path in whole and text_bytes([info]) > _MUCH_TEXT]
    if not large:
        return
    large.sort(key=lambda info: (-info.size, info.path))
    names = ", ".join(f"{info.path} ({info.size / 1e9:,.1f} GB)" for info in large[:3])
    say(
        stage,
        f"large files can only be read from beginning to end, by one worker each: {names}"
        f"{f' and {len(large) - 3:,} others' if large[3:] else ''}; split them, best into files of "
        "100 to 300 MB",
    )
