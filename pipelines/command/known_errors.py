"""What the system and the libraries raise for causes outside this program, as one line for the user.

A command prints that line and exits with status 2; what has none is a fault of ours.
"""

from __future__ import annotations

import errno
import re

from pipelines.errors import UserError, one_line
from pipelines.storage.store_errors import OF_THE_NETWORK

# Libraries in other languages, and Beam's workers, pass the system's errors on as text.
_KNOWN_TEXTS = (
    (
        r"\[Errno (28|122)\]|No space left on device|Disk quota exceeded",
        "the disk is full; free some space and run again",
    ),
    (
        r"\[Errno 27\]|File too large",
        "a file would become larger than the system allows; see ulimit -f, or choose another disk",
    ),
    (
        r"\bMemoryError\b|RESOURCE_EXHAUSTED|[Oo]ut of memory|Unable to allocate|bad_alloc",
        "there is not enough memory; ask for less, such as a smaller batch or model",
    ),
)
_SYSTEM_ERROR = re.compile(
    r"\[Errno \d+\] (?P<reason>.+?)(?:: '(?P<path>[^']*)')?(?: \[while running|\\n|\n|$)"
)
_NETWORK_ERROR = re.compile(
    rf"^(?:{'|'.join(OF_THE_NETWORK)})\.[\w.]+: (?P<reason>.+?)(?: \[while running|\\n|\n|$)",
    re.MULTILINE,
)
_CHECK_NETWORK = "check the network, the names of buckets and your credentials"


def describe_error(error: BaseException) -> str | None:
    """The line for an error, None if it is ours."""
    text = one_line(error)
    if isinstance(error, UserError):
        return text
    path = f"{error.filename}: " if isinstance(error, OSError) and error.filename else ""
    if line := _describe_text(f"{type(error).__name__}: {text}"):
        return f"{path}{line}"
    if type(error).__module__.split(".")[0] in OF_THE_NETWORK:
        return f"{text[:200]}; {_CHECK_NETWORK}"
    if not isinstance(error, OSError):
        return None
    if error.errno == errno.ENOENT and not error.filename:
        return "the working folder is no longer there; change to another one"
    return f"{path}{error.strerror or text}; check the path and its permissions"


def describe_traceback(traceback: str) -> str | None:
    """As ``describe_error``, for the text that Beam makes of an error in a worker."""
    kinds: list[type[UserError]] = [UserError, *UserError.__subclasses__()]
    names = "|".join(re.escape(f"{kind.__module__}.{kind.__name__}") for kind in kinds)
    match = re.search(rf"(?:{names}): (.*?)(?: \[while running|\\n|\n|$)", traceback)
    if match:
        return match[1].strip()
    system = _SYSTEM_ERROR.search(traceback)
    path = f"{system['path']}: " if system and system["path"] else ""
    if line := _describe_text(traceback):
        return f"{path}{line}"
    if system:
        return f"{path}{system['reason'].strip()}; check the path and its permissions"
    network = _NETWORK_ERROR.search(traceback)
    return f"{network['reason'][:200]}; {_CHECK_NETWORK}" if network else None


def _describe_text(text: str) -> str | None:
    return next((line for known, line in _KNOWN_TEXTS if re.search(known, text)), None)
