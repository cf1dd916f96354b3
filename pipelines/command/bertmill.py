"""The command ``bertmill STAGE …``: runs the module of a stage as ``python -m`` does.

Nothing heavy is imported before the stage is known. Unlike under ``python -m`` the working folder is not
on Python's path, so folders of the user called ``pipelines`` or ``trainer`` are in nobody's way.
"""

from __future__ import annotations

import runpy
import sys
from collections.abc import Sequence

from pipelines.command.doctor import show_state
from pipelines.command.stages import DOCTOR, STAGES, list_stages
from pipelines.errors import nearest, printable


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs a stage, or lists them. Exit status: the stage's, or 2 for one that does not exist."""
    name, *rest = (sys.argv[1:] if arguments is None else arguments) or ["--help"]
    if name in ("-h", "--help"):
        print(list_stages())
    elif name == DOCTOR:
        show_state()
    elif name in STAGES:
        module = STAGES[name][0]
        sys.argv = [module, *rest]
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    else:
        problem = f"unknown stage {name}{nearest(name, [*STAGES, DOCTOR])}; see bertmill --help"
        print(printable(f"bertmill: {problem}"), file=sys.stderr)
        sys.exit(2)
