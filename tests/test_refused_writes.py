"""Every command where the system refuses to write: one line that names the file and the cause, and no
harm done: run again where there is room, it ends with the files of an undisturbed run."""

from __future__ import annotations

import re
import shutil
import subprocess
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.command_here import run_command_here
from tests.command_process import CommandProcess
from tests.fuzz.contents import contents
from tests.golden.corpus import write_corpus
from tests.stage_commands import TOKENIZE, TOKENIZE_DOCUMENTS, stage_commands

# Each reads what those above it wrote.
_STAGES = stage_commands(checkpoint_every=3, steps=6, eval_every=3) | {
    "full": f"{TOKENIZE_DOCUMENTS} --packing full --format tfrecord",
    "pairs": f"{TOKENIZE_DOCUMENTS} --packing pairs",
    "examples": f"pipelines.tokenize --input {{corpus}}/labelled.jsonl {TOKENIZE} "
    "--packing examples --label_field label",
    "report": "trainer.report --run {whole}/pretrain/out",
    "explain": "trainer.explain --run {whole}/pretrain/out --step 3",
}
_STAGES["vocab"] += " --word_counts {out}/words.tsv"
_LONG = pytest.mark.long
_FILES = {"predict": "out.jsonl", "report": "out.html", "explain": "out.html"}


def stages(*quick: str) -> list[Any]:
    """All stages; those that are not named are for the long tests."""
    return [s if s in quick else pytest.param(s, marks=_LONG) for s in _STAGES]


class Commands:
    """Runs the stages above, undisturbed ones in ``folder``."""

    def __init__(self, folder: Path):
        self._places = {
            "corpus": str(folder / "corpus"),
            "whole": str(folder / "whole"),
            "packages": sysconfig.get_path("purelib"),
        }
        self._whole = folder / "whole"
        write_corpus(folder / "corpus")

    def run(self, stage: str, output: Path | str, file_size: int | None = None) -> tuple[int, str]:
        """The exit status and the lines of a stage."""
        module, *arguments = _STAGES[stage].split()
        given = [argument.format(**self._places, out=output) for argument in arguments]
        given += ["--output", str(output)]
        if file_size is None:
            return run_command_here(module, *given)
        # Its children have the limit too, for as long as they live.
        with CommandProcess(module, *given, file_size=file_size) as process:
            _, said = process.communicate(300)
        return process.wait(), said

    def whole(self, stage: str) -> Path:
        """The folder of an undisturbed run, with those that it needs."""
        place = self._whole / stage
        if not place.exists():
            place.mkdir(parents=True)
            for earlier in _STAGES:
                if f"{{whole}}/{earlier}/" in _STAGES[stage]:
                    self.whole(earlier)
            status, said = self.run(stage, output_in(place, stage))
            assert status == 0, said
        return place


def output_in(place: Path, stage: str) -> Path:
    return place / _FILES.get(stage, "out")


@pytest.fixture(scope="module")
def commands(tmp_path_factory) -> Commands:
    return Commands(tmp_path_factory.mktemp("commands"))


class Disk:
    """A filesystem of its own in a folder."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.mount("size=64m")

    def mount(self, *options: str) -> None:
        command = ["mount", "-t", "tmpfs", "-o", ",".join(options), "none", str(self.folder)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"mounting is not allowed here: {done.stderr.strip()}")

    def leave(self, size: int) -> None:
        """Has room for so many bytes; at 0 for not even an empty file."""
        self.mount("remount", "rw", f"size={-(-size // 4096) * 4096 + 8192}")
        if not size:
            self.fill()

    def fill(self) -> None:
        """Leaves no room for even an empty file."""
        with open(self.folder / "ballast", "wb", buffering=0) as ballast:
            try:
                while True:
                    ballast.write(bytes(4096))
            except OSError:
                pass

    def free(self) -> None:
        self.mount("remount", "rw", "size=64m")
        (self.folder / "ballast").unlink(missing_ok=True)


@pytest.fixture
def disk(tmp_path) -> Iterator[Disk]:
    folder = tmp_path / "disk"
    folder.mkdir()
    if not shutil.which("mount"):
        pytest.skip("no mount command here")
    disk = Disk(folder)
    yield disk
    subprocess.run(["umount", "-l", str(folder)], check=True)


def assert_one_line(status: int, said: str, *parts: str) -> None:
    """The last line says what is wrong; those before it told of the progress."""
    assert status == 2, said
    assert "Traceback" not in said
    *_, last = said.splitlines()
    for part in parts:
        assert re.search(part, last), said


def assert_equal(place: Path, whole: Path) -> None:
    """But for the locks, which this process holds until its end."""
    found, expected = (
        {n: c for n, c in contents(folder).items() if not n.endswith(".lock")}
        for folder in (place, whole)
    )
    assert found.keys() == expected.keys()
    assert [name for name in found if found[name] != expected[name]] == []


@pytest.mark.parametrize("stage", stages("vocab", "tokenize"))
@pytest.mark.parametrize("share", [0.6, *(pytest.param(s, marks=_LONG) for s in (0.0, 0.3, 0.9))])
def test_a_full_disk(commands, disk, stage, share):
    """There is room for a share of what an undisturbed run takes."""
    whole = commands.whole(stage)
    size = sum(path.stat().st_size + 4096 for path in whole.rglob("*"))
    place = disk.folder / "place"
    place.mkdir()
    disk.leave(int(size * share))
    status, said = commands.run(stage, output_in(place, stage))
    # Where temporary files take less than was thought, there is room enough.
    if status or not share:
        assert_one_line(status, said, f"{place}.*(the disk is full|No space left)")
    disk.free()
    status, said = commands.run(stage, output_in(place, stage))
    assert status == 0, said
    assert_equal(place, whole)


@pytest.mark.parametrize("stage", stages())
def test_a_file_that_cannot_grow(commands, tmp_path, stage):
    whole = commands.whole(stage)
    largest = max(path.stat().st_size for path in whole.rglob("*") if path.is_file())
    status, said = commands.run(stage, output_in(tmp_path, stage), largest // 2)
    assert_one_line(status, said, f"{tmp_path}.*(than the system allows|File too large)")
    assert commands.run(stage, output_in(tmp_path, stage))[0] == 0
    assert_equal(tmp_path, whole)


@pytest.mark.parametrize("stage", stages("tokenize", "mask", "pretrain"))
def test_where_nothing_can_be_written(commands, disk, stage, monkeypatch):
    commands.whole(stage)
    ending = Path(_FILES.get(stage, "out")).suffix
    (disk.folder / "file").write_text("somebody's")
    for output, says in (
        (disk.folder / f"{'x' * (256 - len(ending))}{ending}", f"{disk.folder}.*too long"),
        (disk.folder / "file" / f"out{ending}", f"{disk.folder}/file"),
        (f"/dev/null/out{ending}", "/dev/null"),
    ):
        assert_one_line(*commands.run(stage, output), says)
    monkeypatch.chdir(disk.folder)
    status, said = commands.run(stage, "")
    # The commands that need no output are satisfied.
    if status or stage not in ("evaluate", "predict"):
        assert_one_line(status, said, "--output: is empty")
    (disk.folder / "gone").mkdir()
    monkeypatch.chdir(disk.folder / "gone")
    (disk.folder / "gone").rmdir()
    assert_one_line(*commands.run(stage, f"out{ending}"), "working folder is no longer there|out")
    monkeypatch.undo()
    assert [path.name for path in disk.folder.iterdir()] == ["file"]
    disk.mount("remount", "ro")
    assert_one_line(*commands.run(stage, disk.folder / f"out{ending}"), "Read-only file system")


def test_a_repair_on_a_full_disk(commands, disk):
    rows = disk.folder / "rows"
    shutil.copytree(commands.whole("tokenize") / "out", rows)
    whole = contents(rows)
    shard = next(rows.glob("train-*"))
    damaged = bytearray(shard.read_bytes())
    damaged[30] ^= 1
    shard.write_bytes(damaged)
    disk.fill()
    repair = ("pipelines.inspect", "--data", str(rows), "--repair")
    assert_one_line(*run_command_here(*repair), f"{rows}.*the disk is full")
    assert shard.read_bytes() == damaged
    disk.free()
    assert run_command_here(*repair)[0] == 0
    assert contents(rows) == whole


@pytest.mark.parametrize("stage", [pytest.param(s, marks=_LONG) for s in _STAGES])
def test_a_full_folder_for_temporary_files(commands, disk, tmp_path, stage, monkeypatch):
    whole, place = commands.whole(stage), tmp_path / "place"
    place.mkdir()
    disk.leave(0)
    monkeypatch.setattr(tempfile, "tempdir", str(disk.folder))
    status, said = commands.run(stage, output_in(place, stage))
    if status:
        assert_one_line(status, said, f"{disk.folder}.*(the disk is full|No space left)")
        disk.free()
        assert commands.run(stage, output_in(place, stage))[0] == 0
    assert_equal(place, whole)
