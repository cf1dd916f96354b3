"""What is killed: every stage on a small corpus, and the whole quickstart."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import sysconfig
from pathlib import Path

from tests.command_process import CommandProcess
from tests.golden.corpus import write_corpus
from tests.stage_commands import stage_commands

_ROOT = Path(__file__).resolve().parents[2]
# Stages read what undisturbed runs of earlier ones wrote.
STAGES = {
    name: f"{command} --output {{place}}/out"
    for name, command in stage_commands(checkpoint_every=5, steps=40, eval_every=20).items()
}
STAGES["export"] += " --hf_output {place}/hf"
STAGES["predict"] += "/predictions.jsonl"
STAGES["quickstart"] = "launch/quickstart.sh {corpus}/labelled.jsonl"


class StageStarter:
    """Starts stages whose inputs, outputs and compiled code are in ``folder``."""

    def __init__(self, folder: Path):
        self._folder = folder
        write_corpus(folder / "corpus")
        # Here, because the process that others are forked from imports JAX, which reads them then.
        os.environ["JAX_COMPILATION_CACHE_DIR"] = str(folder / "compiled")
        os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
        os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"
        os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"

    def start(self, stage: str, place: Path) -> CommandProcess | ScriptProcess:
        """The stage's command, which writes to ``place`` and keeps temporary files in its ``tmp``."""
        (place / "tmp").mkdir(parents=True, exist_ok=True)
        places = {
            "corpus": self._folder / "corpus",
            "whole": self._folder / "whole",
            "packages": sysconfig.get_path("purelib"),
            "place": place,
        }
        environment = {"TMPDIR": str(place / "tmp")}
        module, *arguments = (word.format(**places) for word in STAGES[stage].split())
        if module.endswith(".sh"):
            _make_checkout(place)
            return ScriptProcess(place / module, arguments, environment | {"STEPS": "2"})
        return CommandProcess(module, *arguments, environment=environment)


class ScriptProcess(subprocess.Popen[str]):
    """A shell script that is killed together with the commands it runs."""

    def __init__(self, script: Path, arguments: list[str], environment: dict[str, str]):
        super().__init__(
            ["bash", script, *arguments],
            env={**os.environ, "KERAS_BACKEND": "jax", **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def kill(self) -> None:
        os.killpg(self.pid, signal.SIGKILL)


def stages_read(stage: str) -> list[str]:
    """The stages whose outputs this one reads, each after those that it reads itself."""
    direct = re.findall(r"\{whole\}/(\w+)", STAGES[stage])
    return [name for one in direct for name in (*stages_read(one), one)]


def _make_checkout(place: Path) -> None:
    """A checkout of this code in which everything is installed, if ``place`` is not one yet."""
    if (place / "launch").exists():
        return
    for name in (
        "launch",
        "configs",
        "pipelines",
        "trainer",
        "requirements.lock",
        "pyproject.toml",
    ):
        (place / name).symlink_to(_ROOT / name)
    (place / ".venv" / "bin").mkdir(parents=True)
    python = place / ".venv" / "bin" / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    # As install.sh knows what is installed.
    read = "echo $(cat requirements.lock pyproject.toml | cksum | cut -d' ' -f1) train > .venv/installed"
    subprocess.run(["bash", "-c", read], cwd=place, check=True)
