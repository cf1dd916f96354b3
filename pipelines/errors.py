"""The one exception for what a user can cause, and the nearest valid name to a wrong one.

The exception's message is a single line that says what is wrong, with which value and where (file and
line), and how to fix it. Every command prints it without a traceback and exits with status 2.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence


class UserError(Exception):
    """A problem that the user can fix: bad input, bad options, files that do not fit together."""


def nearest(name: str, names: Sequence[str]) -> str:
    """'; did you mean X?' for the valid name nearest to a wrong one, or the empty string."""
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else ""
