"""SHA256SUMS: the checksums of a folder whose files no manifest lists, such as a preset.

A manifest holds what follows from the input; some of these files hold times too, and others read them.
So their checksums are in a file beside them, which ``sha256sum -c SHA256SUMS`` reads as well. A folder
without one was written by others, and is used as it is.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

from pipelines.errors import UserError
from pipelines.records.shards import file_sha256
from pipelines.storage import files

CHECKSUMS = "SHA256SUMS"
# For people, who may write more into it: of a model, its card.
_README = "README.md"
_LINE = re.compile(r"([0-9a-f]{64}) [ *]([^/\0].*)")
_MOST_BYTES = 16 << 20


def names_below(folder: str) -> list[str]:
    """The visible files of a local folder, by their paths in it, that can have checksums in it."""
    names = []
    for at, folders, found in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        visible = (Path(at, name) for name in found if not name.startswith("."))
        names += [path.relative_to(folder).as_posix() for path in visible]
    return sorted(set(names) - {CHECKSUMS, _README})


def write_checksums(
    folder: str, names: Iterable[str], known: Mapping[str, str] | None = None
) -> None:
    """Publishes the checksums of the files with these names, and those that are ``known``."""
    sums = {name: sha256_of(files.join(folder, name)) for name in names} | dict(known or {})
    lines = (f"{sums[name]}  {name}\n" for name in sorted(sums))
    files.publish_bytes(files.join(folder, CHECKSUMS), "".join(lines).encode())


def read_checksums(folder: str) -> dict[str, str] | None:
    """The SHA-256 of each file by its name, None without a list. UserError for one that is damaged."""
    path = files.join(folder, CHECKSUMS)
    if not files.exists(path):
        return None
    *lines, rest = files.read_bytes(path, _MOST_BYTES).decode(errors="replace").split("\n")
    matches = [match for match in map(_LINE.fullmatch, lines) if match]
    outside = any(".." in match[2].split("/") for match in matches)
    if rest or outside or len(matches) < len(lines):
        raise UserError(f"{path} is damaged; get it again, or delete it to use the folder as it is")
    return {match[2]: match[1] for match in matches}


def find_damage(folder: str, *, whole: bool) -> Iterator[tuple[str, str]]:
    """(name, what is wrong) of each file that is not as listed; ``whole``: or is not listed."""
    listed = read_checksums(folder)
    if listed is None:
        return
    for name, expected in listed.items():
        if problem := _compare(folder, name, expected):
            yield name, problem
    for name in names_below(folder) if whole else ():
        if name not in listed:
            yield name, _problem(folder, name, "is not listed in", "move it away")


def check_folder(folder: str) -> None:
    """Raises UserError unless all files of a local folder, and no others, are as listed in it."""
    for _, problem in find_damage(folder, whole=True):
        raise UserError(problem)


def check_files(folder: str, names: Iterable[str]) -> None:
    """Raises UserError unless those of these files that are listed in a folder are as listed."""
    listed = read_checksums(folder) or {}
    for name in names:
        if name in listed and (problem := _compare(folder, name, listed[name])):
            raise UserError(problem)


@contextmanager
def checked_file(folder: str, name: str) -> Iterator[str]:
    """``files.local_file``, of the content that is listed. Raises UserError for another."""
    expected = (read_checksums(folder) or {}).get(name)
    with files.local_file(files.join(folder, name)) as local:
        if expected and sha256_of(local) != expected:
            raise UserError(_problem(folder, name, "is not the file of", "get it again"))
        yield local


def sha256_of(path: str) -> str:
    """The SHA-256 of a file, in hex; read once in a process, unless a local file changes."""
    if files.is_remote(path):
        return file_sha256(path)
    status = os.stat(path)
    return _sha256(path, (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns))


@lru_cache(maxsize=4096)
def _sha256(path: str, status: tuple[int, ...]) -> str:
    return file_sha256(path)


def _compare(folder: str, name: str, expected: str) -> str | None:
    if not files.exists(files.join(folder, name)):
        return _problem(folder, name, "is missing, unlike in", "put it back")
    if sha256_of(files.join(folder, name)) != expected:
        return _problem(folder, name, "is not the file of", "get it again")
    return None


def _problem(folder: str, name: str, problem: str, fix: str) -> str:
    path, checksums = files.join(folder, name), files.join(folder, CHECKSUMS)
    return (
        f"{path} {problem} {CHECKSUMS}; {fix} or, if that is meant, delete {checksums}: then the "
        "folder is used as it is"
    )
