"""What a store and its library say of a wrong bucket, a permission or the network, as one line."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

from pipelines.errors import UserError, one_line

CHECK_NAMES = "check the bucket's name and your credentials"
CHECK_NET = "check the network"
# Where the errors of stores' libraries are defined. They share no class, but all speak HTTP.
OF_THE_NETWORK = (
    "aiohttp",
    "botocore",
    "fsspec",
    "gcsfs",
    "google",
    "requests",
    "s3fs",
    "urllib3",
)
_CONNECTION = "ClientConnector|ConnectionError|Cannot connect|Disconnected|ClientOSError"
_REASONS = (
    (r"\b403\b|Forbidden", "no permission", CHECK_NAMES),
    (r"\b404\b|NotFound", "not found", CHECK_NAMES),
    (r"\b401\b|Unauthorized|Credentials|RefreshError|refreshed", "no credentials", CHECK_NAMES),
    (rf"{_CONNECTION}|Timeout|Payload|Proxy", "cannot be reached", CHECK_NET),
    (r"\b(429|500|502|503|504)\b", "the store is in trouble", "run the same command again later"),
)


@contextmanager
def named(path: str) -> Iterator[None]:
    """Raises what a store's library raises in the block as UserError or FileNotFoundError of a path."""
    try:
        yield
    except FileNotFoundError:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path) from None
    except UserError as error:
        raise error if path in str(error) else UserError(f"{path}: {error}") from None
    except Exception as error:
        if said := describe_refusal(path, error):
            raise said from None
        if type(error).__module__.partition(".")[0] not in OF_THE_NETWORK:
            raise
        raise UserError(
            f"{path}: the store does not do it ({one_line(error)[:150]}); {CHECK_NET}"
        ) from None


def describe_refusal(path: str, error: Exception) -> UserError | None:
    """The line for an error whose meaning is known, else None."""
    for pattern, meaning, fix in _REASONS:
        if re.search(pattern, f"{type(error).__name__} {error}"):
            return UserError(f"{path}: {meaning} ({one_line(error)[:150]}); {fix}")
    return None
