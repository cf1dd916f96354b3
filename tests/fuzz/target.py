"""What is fuzzed: files as they should be, and the reader, loader or command that gets them mutated."""

from __future__ import annotations

import shutil
import traceback
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from pipelines.errors import UserError
from pipelines.records.checksums import CHECKSUMS
from tests.fuzz.mutate_file import mutate_file

Draw = Random
RIGHT = ("read", "refused", "named")


class NamedError(Exception):
    """The input was believed, but a command that verifies such files names it as changed."""


class SilentLossError(AssertionError):
    """Something was in the input, and is neither in what was read nor counted as dropped."""


@dataclass(frozen=True)
class Outcome:
    """What became of an input: "read", "refused" and "named" are right; "crash", "hang" and "silent
    loss" are not, and ``message`` says where, in words that are equal for equal faults."""

    number: int
    target: str
    kind: str
    message: str = ""


@dataclass(frozen=True)
class Target:
    """A reader and what it reads.

    files: all that it finds in its folder, by name. read: gets the folder and the generator of the
    input; what it raises besides UserError is a crash. mutates: the names of the files that are
    changed, by default all. share: how many inputs it gets beside others. seeds: contents of files that
    are hostile as they are. swaps: the file may also be missing, or be another of them.
    """

    name: str
    files: Mapping[str, bytes]
    read: Callable[[Path, Draw], object]
    mutates: tuple[str, ...] = ()
    share: float = 1.0
    seeds: Mapping[str, tuple[bytes, ...]] = field(default_factory=dict)
    swaps: bool = False


def folder_files(folder: Path) -> dict[str, bytes]:
    """All files below a folder, as ``Target.files``."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def without_checksums(files: dict[str, bytes]) -> dict[str, bytes]:
    """The same as somebody else writes them: what is changed in them is read."""
    for name in [name for name in files if name.endswith(CHECKSUMS)]:
        del files[name]
    return files


def try_input(seed: int, number: int, targets: list[Target], work: Path) -> Outcome:
    """Gives one mutated input to the target that its number draws."""
    draw = Draw(f"{seed}/{number}")
    (target,) = draw.choices(targets, [target.share for target in targets])
    name = _write_mutated(target, draw, work)
    try:
        target.read(work / "given", draw)
    except UserError as error:
        problem = _problem_of(str(error))
        kind, message = (
            ("crash", f"{problem}: {str(error)[:200]!r}") if problem else ("refused", "")
        )
    except NamedError:
        kind, message = "named", ""
    except SilentLossError as error:
        kind, message = "silent loss", f"{name}: {str(error)[:200]}"
    except Exception as error:
        kind, message = "crash", f"{name}: {_describe(error)}"
    else:
        kind, message = "read", ""
    return Outcome(number, target.name, kind, message)


def complain_about(text: str) -> None:
    """Raises RuntimeError for text that should be a printable line, and is not."""
    if problem := _problem_of(text):
        raise RuntimeError(f"{problem}: {text[-200:]!r}")


def _write_mutated(target: Target, draw: Draw, work: Path) -> str:
    """Writes the target's files, one of them mutated; its name."""
    shutil.rmtree(work, ignore_errors=True)
    changed = draw.choice(target.mutates or sorted(target.files))
    files = dict(target.files)
    if (hostile := target.seeds.get(changed, ())) and draw.random() < 0.2:
        files[changed] = draw.choice(hostile)
    elif not target.swaps or draw.random() < 0.7:
        files[changed] = mutate_file(changed, files[changed], draw)
    elif draw.random() < 0.5:
        del files[changed]
    else:
        files[changed] = files[draw.choice(sorted(files))]
    write_files(work / "given", files)
    return changed


def write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """Writes files, by their names in the folder."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def _describe(error: Exception) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    ours = [
        f for f in frames if "site-packages" not in f.filename and "/tests/fuzz/" not in f.filename
    ]
    at = (ours or list(frames))[-1]
    said = " ".join(str(error).split())[:120]
    return f"{type(error).__name__} at {Path(at.filename).name}:{at.lineno}: {said}"


def _problem_of(message: str) -> str:
    """What is wrong with a message that should be one printable line."""
    if "\n" in message or "\r" in message:
        return "several lines"
    return "characters that steer a terminal" if any(map(_is_control, message)) else ""


def _is_control(character: str) -> bool:
    return unicodedata.category(character) == "Cc" and character != "\t"
