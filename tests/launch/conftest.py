"""A folder where the scripts find everything installed."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

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
