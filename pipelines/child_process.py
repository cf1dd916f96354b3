"""A child process of ours: a module that answers on standard output what it reads from standard input.

It ends with its parent, however that ends, if it stops where its input ends.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys


def start_child(module: str) -> subprocess.Popen[bytes]:
    """Runs a module as the main program, with pipes to and from it and this process's import path.

    ``python -m`` would find a package of the same name in the working folder first.
    """
    program = (
        "import runpy, sys; sys.path[:] = filter(None, sys.path); "
        f"runpy.run_module({module!r}, run_name='__main__', alter_sys=True)"
    )
    return subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))},
    )


def leave_interrupts_to_parent() -> None:
    """For the child to call: a terminal sends Ctrl-C to both, and the parent handles it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
