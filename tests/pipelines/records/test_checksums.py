"""SHA256SUMS: what is changed, missing or new in a folder is found."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from pipelines.errors import UserError
from pipelines.records.checksums import (
    CHECKSUMS,
    check_folder,
    checked_file,
    find_damage,
    names_below,
    read_checksums,
    write_checksums,
)


@pytest.fixture
def folder(tmp_path) -> Path:
    made = tmp_path / "made"
    (made / "assets").mkdir(parents=True)
    (made / "config.json").write_text("{}")
    (made / "assets" / "vocabulary.txt").write_text("a\nb\n")
    (made / ".lock").write_text("")
    write_checksums(str(made), names_below(str(made)))
    return made


def test_others_can_read_it(folder):
    listed = (folder / CHECKSUMS).read_text().splitlines()
    assert [line.split("  ")[1] for line in listed] == ["assets/vocabulary.txt", "config.json"]
    if shutil.which("sha256sum"):
        subprocess.run(["sha256sum", "--strict", "-c", CHECKSUMS], cwd=folder, check=True)


def test_a_copy_is_whole_and_so_is_a_folder_without_a_list(folder, tmp_path):
    check_folder(str(folder))
    check_folder(str(shutil.copytree(folder, tmp_path / "copy")))
    (folder / CHECKSUMS).unlink()
    (folder / "config.json").write_text("[]")
    check_folder(str(folder))
    with checked_file(str(folder), "config.json") as path:
        assert Path(path).read_text() == "[]"


@pytest.mark.parametrize(
    ("change", "name", "problem"),
    [
        (lambda f: (f / "config.json").write_text("[]"), "config.json", "is not the file of"),
        (lambda f: (f / "config.json").unlink(), "config.json", "is missing"),
        (lambda f: (f / "assets" / "new").write_text(""), "assets/new", "is not listed in"),
    ],
)
def test_what_changed_is_named_with_what_to_do(folder, change, name, problem):
    check_folder(str(folder))
    change(folder)
    assert [found for found, _ in find_damage(str(folder), whole=True)] == [name]
    with pytest.raises(UserError, match=rf"made/{name} {problem}.* delete .*made/{CHECKSUMS}"):
        check_folder(str(folder))
    (folder / CHECKSUMS).unlink()
    check_folder(str(folder))


def test_a_single_file_is_checked_where_it_is_opened(folder):
    (folder / "config.json").write_text("[]")
    with checked_file(str(folder), "assets/vocabulary.txt"):
        pass
    with pytest.raises(UserError, match=r"config\.json"), checked_file(str(folder), "config.json"):
        pass


@pytest.mark.parametrize(
    "line",
    [f"{'0' * 64}  ../a", f"{'0' * 64}  /a", f"{'0' * 64}  b/../../a", "0  a", f"{'0' * 64}  a\n"],
)
def test_a_list_that_nobody_wrote_is_refused(folder, line):
    (folder / CHECKSUMS).write_text(f"{line}\n")
    with pytest.raises(UserError, match=f"{CHECKSUMS} is damaged"):
        read_checksums(str(folder))
