"""``python -m tests.trainer.killed_export RUN OUTPUT N``: an export that dies as soon as it has renamed
something to or from its output for the N-th time."""

from __future__ import annotations

import os
import signal
import sys

from pipelines.command.run import RunOptions
from trainer.export import ExportConfig, export


def main(run: str, output: str, left: int) -> None:
    rename = os.rename

    def killing(*paths: str) -> None:
        nonlocal left
        rename(*paths)
        left -= os.path.realpath(output) in map(str, paths)
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)

    os.rename = killing
    export(ExportConfig(run=run, output=output), RunOptions(overwrite=True))


if __name__ == "__main__":
    main(*sys.argv[1:3], int(sys.argv[3]))
