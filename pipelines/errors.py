"""The one exception for what a user can cause, and what messages are made of.

The exception's message is a single line that says what is wrong, with which value and where (file and
line), and how to fix it. Every command prints it without a traceback and exits with status 2.
"""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Sequence

# Control characters, and lone surrogates, which no terminal can show.
_STEERING = ("Cc", "Cs")


class UserError(ValueError):
    """A problem that the user can fix: bad input, bad options, files that do not fit together.

    A ValueError, as users of the KerasNLP API expect: who catches those around what may raise this
    lets it through first. What its message quotes of names and files is shown as ``printable`` text
    on its one line.
    """

    def __init__(self, message: str) -> None:
        super().__init__(printable(message).replace("\n", " "))


def printable(text: str) -> str:
    """The text with its control characters, which could steer a terminal, as ``\\x1b``; ends of lines
    and tabs stay."""
    if text.isprintable():
        return text
    return "".join(
        repr(c)[1:-1] if c not in "\n\t" and unicodedata.category(c) in _STEERING else c
        for c in text
    )


def one_line(error: BaseException) -> str:
    """An error's message without ends of lines, or its class where it has none."""
    return " ".join(str(error).split()) or type(error).__name__


def nearest(name: str, names: Sequence[str]) -> str:
    """'; did you mean X?' for the valid name nearest to a wrong one, or the empty string."""
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else ""
