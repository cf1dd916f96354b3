"""A folder where the scripts find everything installed, and rows to train on."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.trainer.conftest import write_rows

_ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def install_in() -> Callable[..., None]:
    """``install_in(folder, command, extras)``: as install.sh leaves a folder, where ``command``, a line
    of sh, is what .venv/bin/python does."""

    def install(folder: Path, command: str, extras: str) -> None:
        python = folder / ".venv" / "bin" / "python"
        python.parent.mkdir(parents=True)
        python.write_text(f"#!/bin/sh\n{command}\n")
        python.chmod(0o755)
        content = b"".join(
            (_ROOT / n).read_bytes() for n in ("requirements.lock", "pyproject.toml")
        )
        wanted = subprocess.run(["cksum"], input=content, capture_output=True, check=True).stdout
        (folder / ".venv" / "installed").write_text(f"{wanted.decode().split()[0]} {extras}\n")

    return install


@pytest.fixture(scope="session")
def checkout(install_in) -> Callable[..., Path]:
    """``checkout(folder, command, extras)``: what the scripts need of this code, installed there."""

    def make(folder: Path, command: str, extras: str) -> Path:
        install_in(folder, command, extras)
        shutil.copytree(_ROOT / "launch", folder / "launch")
        for name in ("requirements.lock", "pyproject.toml", "pipelines", "trainer"):
            (folder / name).symlink_to(_ROOT / name)
        return folder

    return make


@pytest.fixture(scope="session")
def rows(tmp_path_factory) -> Path:
    return write_rows(tmp_path_factory.mktemp("launched") / "rows")
