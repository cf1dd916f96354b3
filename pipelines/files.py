"""Files, local or on any filesystem that Beam knows (``gs://`` …), behind one handful of verbs.

Local paths use the standard library alone, and gs:// needs gcsfs alone where Beam is not at work
anyway, so that the trainer needs no Beam. What is published appears whole or not at all: it is
written under a unique temporary name beside its final place and renamed.
"""

from __future__ import annotations

import atexit
import glob
import importlib.util
import os
import re
import shutil
import sys
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from pipelines import gcs
from pipelines.errors import UserError

_SCHEME = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*://")
_TEMPORARY = ".incomplete-"
_UNREACHABLE = "cannot be reached"
_HTTP_REASONS = (
    (r"\b401\b|Unauthorized", "no credentials"),
    (r"\b403\b|Forbidden", "no permission"),
    (r"\b404\b|NotFound", "not found"),
    (r"CredentialsError|RefreshError|credentials cannot be refreshed", "no credentials"),
    (r"ClientConnector|ConnectionError|Cannot connect|Timeout", _UNREACHABLE),
)


@dataclass(frozen=True, order=True)
class FileInfo:
    """A file as found: its path, size in bytes and time of last change (seconds; 0 = unknown)."""

    path: str
    size: int
    modified: float


def is_remote(path: str) -> bool:
    """True for ``scheme://`` paths."""
    return bool(_SCHEME.match(path))


def _uses_gcsfs(path: str) -> bool:
    """True where gcsfs is there and Beam, which takes seconds to import, is not in use."""
    return (
        path.startswith("gs://")
        and "apache_beam" not in sys.modules
        and importlib.util.find_spec("gcsfs") is not None
    )


def _beam_filesystems() -> Any:
    try:
        from apache_beam.io.filesystems import FileSystems
    except ImportError:
        raise UserError(
            "files that are not local need Beam, or gs:// gcsfs; pip install 'bertmill[gcp]'"
        ) from None
    if uses_emulator() and FileSystems._pipeline_options is None:
        from apache_beam.options.pipeline_options import PipelineOptions

        FileSystems.set_options(PipelineOptions(["--no_auth"]))
    return FileSystems


def uses_emulator() -> bool:
    """True if gs:// stands for a storage emulator, which knows no credentials."""
    return bool(os.environ.get("STORAGE_EMULATOR_HOST"))


@contextmanager
def _remote_errors(path: str) -> Iterator[None]:
    """Turns what a filesystem says of a wrong bucket, scheme or permission into one line."""
    try:
        yield
    except (UserError, FileNotFoundError):
        raise
    except Exception as error:
        if "Unable to get filesystem" in str(error):
            scheme = path.split("://")[0]
            raise UserError(
                f"{path}: nothing installed can read {scheme}://; for gs:// pip install "
                "'bertmill[gcp]'"
            ) from None
        # Beam and the stores' own libraries share no class of errors, but all speak HTTP.
        reason = " ".join(str(error).split())
        for sign, meaning in _HTTP_REASONS:
            if re.search(sign, f"{type(error).__name__} {reason}"):
                check = (
                    "check the network"
                    if meaning == _UNREACHABLE
                    else "check the bucket's name and your credentials"
                )
                raise UserError(f"{path}: {meaning} ({reason[:150]}); {check}") from None
        raise


def join(folder: str, *names: str) -> str:
    """A path below ``folder``."""
    return (
        "/".join([folder.rstrip("/") or "/", *names])
        if is_remote(folder)
        else os.path.join(folder, *names)
    )


def open_read(path: str) -> IO[bytes]:
    """Opens a file for reading bytes as they are stored (nothing is decompressed)."""
    if _uses_gcsfs(path):
        with _remote_errors(path):
            return gcs.open_read(path)
    if is_remote(path):
        from apache_beam.io.filesystem import CompressionTypes

        with _remote_errors(path):
            return _beam_filesystems().open(path, compression_type=CompressionTypes.UNCOMPRESSED)
    return open(path, "rb")


def download(path: str, local: str) -> None:
    """Copies a remote file to a local one (not atomically)."""
    if _uses_gcsfs(path):
        with _remote_errors(path):
            gcs.download(path, local)
    else:
        with open_read(path) as source, open(local, "wb") as target:
            shutil.copyfileobj(source, target, 8 << 20)


@contextmanager
def local_file(path: str) -> Iterator[str]:
    """A local path with the same content and the same ending of its name, for as long as the block
    lasts: itself, or a copy of a remote file."""
    if not is_remote(path):
        yield path
        return
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        local = os.path.join(folder, path.rsplit("/", 1)[-1])
        download(path, local)
        yield local


def read_bytes(path: str) -> bytes:
    """The whole file."""
    with open_read(path) as file:
        return file.read()


def exists(path: str) -> bool:
    """True if there is a file (or a local folder) at ``path``."""
    if not is_remote(path):
        return os.path.exists(path)
    with _remote_errors(path):
        if _uses_gcsfs(path):
            return gcs.exists(path)
        return bool(_beam_filesystems().exists(path))


def make_folder(path: str) -> None:
    """Makes a local folder with its parents; object stores need none."""
    if not is_remote(path):
        try:
            os.makedirs(path, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise UserError(
                f"output folder {path}: a file of this name is in the way; choose another folder"
            ) from None
        except PermissionError:
            raise UserError(
                f"output folder {path}: no permission to create it; choose another folder"
            ) from None


def delete(paths: Iterable[str]) -> None:
    """Deletes files; missing ones are no error."""
    for path in paths:
        if _uses_gcsfs(path):
            with _remote_errors(path):
                gcs.delete(path)
        elif is_remote(path):
            if exists(path):
                _beam_filesystems().delete([path])
        else:
            Path(path).unlink(missing_ok=True)


@contextmanager
def publish(path: str) -> Iterator[str]:
    """Gives a local temporary path to write to; at the end of the block it becomes ``path``.

    If the block raises, nothing appears at ``path`` and the temporary file is removed. Two writers
    of the same path never see each other's temporary file; the last to finish wins.
    """
    unique = f"{_TEMPORARY}{uuid.uuid4().hex}"
    if not is_remote(path):
        folder, name = os.path.split(path)
        temporary = os.path.join(folder, f"{unique}-{name}")
        try:
            yield temporary
            with open(temporary, "rb") as file:
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            Path(temporary).unlink(missing_ok=True)
        return
    import tempfile

    with tempfile.TemporaryDirectory() as local:
        temporary = os.path.join(local, f"{unique}-{path.rsplit('/', 1)[-1]}")
        yield temporary
        # An object appears only when its upload is complete, under its final name at once.
        if _uses_gcsfs(path):
            with _remote_errors(path):
                try:
                    return gcs.upload(temporary, path)
                except FileNotFoundError:
                    raise UserError(
                        f"{path}: not found; check the bucket's name and your credentials"
                    ) from None
        with (
            _remote_errors(path),
            open(temporary, "rb") as source,
            _beam_filesystems().create(path, mime_type="application/octet-stream") as target,
        ):
            shutil.copyfileobj(source, target, 8 << 20)


def publish_bytes(path: str, data: bytes) -> None:
    """Writes a whole file atomically."""
    with publish(path) as temporary:
        Path(temporary).write_bytes(data)


@contextmanager
def publish_folder(folder: str) -> Iterator[str]:
    """Gives a new local folder to fill; at the end of the block it becomes, or replaces, ``folder``.

    If the block raises, ``folder`` stays as it was.
    """
    parent, name = os.path.split(os.path.abspath(folder))
    make_folder(parent)
    temporary = os.path.join(parent, f"{_TEMPORARY}{uuid.uuid4().hex}-{name}")
    replaced = f"{temporary}-replaced"
    try:
        os.mkdir(temporary)
        yield temporary
        if os.path.isdir(folder):
            os.rename(folder, replaced)
        os.rename(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(replaced, ignore_errors=True)


def delete_temporaries(folder: str) -> None:
    """Removes what interrupted writers left in a local folder; in object stores they leave nothing."""
    if not is_remote(folder):
        for path in Path(folder).glob(f"{_TEMPORARY}*"):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def temporary_folder(folder: str) -> str:
    """Makes a unique local folder: inside ``folder`` if that is local, where there is room for it.

    Whoever makes it removes it; ``delete_temporaries`` does if the process was killed.
    """
    import tempfile

    if is_remote(folder):
        return tempfile.mkdtemp(prefix="bertmill-")
    return tempfile.mkdtemp(prefix=_TEMPORARY, dir=folder)


def names_in(folder: str) -> list[str]:
    """The names of the files directly in a folder; [] if there is none."""
    if _uses_gcsfs(folder):
        with _remote_errors(folder):
            return gcs.names_in(folder)
    if is_remote(folder):
        with _remote_errors(folder):
            (result,) = _beam_filesystems().match([join(folder, "*")])
        return [entry.path.rsplit("/", 1)[-1] for entry in result.metadata_list]
    return (
        [path.name for path in Path(folder).iterdir() if path.is_file()] if exists(folder) else []
    )


_held_locks: dict[str, IO[bytes]] = {}


def lock_folder(folder: str) -> None:
    """Claims a local folder for writing until this process ends, however it ends.

    Raises UserError if another process holds it. Object stores have no locks: there, the last of
    two runs to finish wins, shard by shard checked against its manifest.
    """
    if is_remote(folder) or folder in _held_locks:
        return
    import fcntl

    file = open(os.path.join(folder, ".lock"), "wb")  # noqa: SIM115 - held until the end
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise UserError(
            f"--output: another process is writing to {folder}; wait for it or choose another folder"
        ) from None
    _held_locks[folder] = file


@atexit.register
def _release_folders() -> None:
    for folder, file in _held_locks.items():
        Path(folder, ".lock").unlink(missing_ok=True)
        file.close()


def match(patterns: Iterable[str], what: str = "input") -> list[FileInfo]:
    """All files that the paths, folders or glob patterns name, without repeats, sorted by path.

    A folder stands for all files in it. Hidden files and those of interrupted writers are
    passed over unless named outright. Raises UserError for a pattern that matches nothing.
    """
    found: dict[str, FileInfo] = {}
    for pattern in patterns:
        before = len(found)
        if is_remote(pattern):
            infos = _remote_infos(pattern)
        else:
            infos = [_local_info(path) for path in _local_paths(pattern)]
        found.update((info.path, info) for info in infos)
        if not infos and len(found) == before:
            kind = "no file matches" if any(c in pattern for c in "*?[") else "no such file:"
            raise UserError(
                f"--{what}: {kind} {pattern!r}; check the path (working folder: {os.getcwd()})"
            )
    if not found:
        raise UserError(f"--{what}: name at least one file, folder or pattern")
    return sorted(found.values())


def _remote_infos(pattern: str) -> list[FileInfo]:
    tried = [pattern]
    if not any(c in pattern for c in "*?["):
        tried.append(join(pattern, "**"))  # a folder
    for attempt in tried:
        with _remote_errors(pattern):
            (result,) = _beam_filesystems().match([attempt])
        infos = [
            FileInfo(entry.path, entry.size_in_bytes, entry.last_updated_in_seconds or 0.0)
            for entry in result.metadata_list
            if attempt == pattern == entry.path or _is_visible(entry.path)
        ]
        if infos:
            return infos
    return []


def _is_visible(path: str) -> bool:
    """False for hidden files and the empty objects that some tools make for folders."""
    name = path.rsplit("/", 1)[-1]
    return bool(name) and not name.startswith(".")


def _local_paths(pattern: str) -> list[str]:
    pattern = os.path.expanduser(pattern)
    if os.path.isfile(pattern):
        return [pattern]
    if os.path.isdir(pattern):
        pattern = os.path.join(glob.escape(pattern), "**")
    return [path for path in glob.glob(pattern, recursive=True) if os.path.isfile(path)]


def _local_info(path: str) -> FileInfo:
    status = os.stat(path)
    return FileInfo(path, status.st_size, status.st_mtime)
