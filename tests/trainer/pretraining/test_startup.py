from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = """
import os, sys
from pathlib import Path
from trainer.pretraining.startup import restart_with_huge_pages
print("began", flush=True)
restart_with_huge_pages(Path(sys.argv[1]))
print(os.getpid(), os.environ.get("GLIBC_TUNABLES", ""), sys.flags.utf8_mode, sys.argv[2:])
"""


@pytest.mark.parametrize(
    ("setting", "before", "after", "starts"),
    [
        ("always [madvise] never", None, "glibc.malloc.hugetlb=1", 2),
        ("always [madvise] never", "a.b.c=1", "a.b.c=1:glibc.malloc.hugetlb=1", 2),
        ("always [madvise] never", "glibc.malloc.hugetlb=0", "glibc.malloc.hugetlb=0", 1),
        ("[always] madvise never", None, "", 1),
        ("always madvise [never]", None, "", 1),
        (None, None, "", 1),
    ],
)
def test_a_command_begins_anew_once_where_that_is_of_use(
    tmp_path: Path, setting: str | None, before: str | None, after: str, starts: int
) -> None:
    if setting is not None:
        (tmp_path / "enabled").write_text(setting + "\n")
    environment = {k: v for k, v in os.environ.items() if k != "GLIBC_TUNABLES"}
    if before is not None:
        environment["GLIBC_TUNABLES"] = before
    arguments = ["-X", "utf8", "-c", COMMAND, str(tmp_path / "enabled"), "a b", "--c=*"]
    process = subprocess.Popen(
        [sys.executable, *arguments], env=environment, stdout=subprocess.PIPE, text=True
    )
    shown, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    last = f"{process.pid} {after} 1 ['a b', '--c=*']"
    assert shown.split("\n") == ["began"] * starts + [last, ""]
