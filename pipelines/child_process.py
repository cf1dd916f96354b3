"""A child process of ours: a module that answers on standard output what it reads from standard input.

It ends with its parent, however that ends, if it stops where its input ends.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import IO, Any, cast

from pipelines.command.known_errors import describe_error


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


def ask(child: subprocess.Popen[bytes], *question: Any) -> None:
    """Sends the one question that a child answers with ``answer_question``.

    That it has ended already shows where its answer is read.
    """
    questions = cast(IO[bytes], child.stdin)
    try:
        pickle.dump(question, questions, protocol=5)
        questions.flush()
    except BrokenPipeError:
        with suppress(BrokenPipeError):
            questions.close()


def read_answer(child: subprocess.Popen[bytes]) -> Any:
    """What the child answers. Raises what it raised, and EOFError if it ended without an answer."""
    try:
        outcome = pickle.load(cast(IO[bytes], child.stdout))
    except pickle.UnpicklingError as error:  # it ended within its answer
        raise EOFError from error
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome


def answer_question(answer: Callable[..., Any]) -> None:
    """For the child: answers the question on standard input, or ends when the parent does.

    What else is printed goes to standard error, and so does the traceback of a fault of ours.
    """
    leave_interrupts_to_parent()
    with os.fdopen(os.dup(1), "wb") as answers:
        os.dup2(2, 1)
        question = pickle.load(sys.stdin.buffer)
        threading.Thread(target=_end_with_parent, daemon=True).start()
        try:
            outcome = answer(*question)
        except Exception as error:
            outcome = error
            if describe_error(error) is None:
                traceback.print_exc()
        pickle.dump(outcome, answers)


def _end_with_parent() -> None:
    with suppress(OSError):
        os.read(0, 1)  # nothing more is asked: this returns when the other end is closed
    os._exit(1)


def leave_interrupts_to_parent() -> None:
    """For the child to call: a terminal sends Ctrl-C to both, and the parent handles it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
