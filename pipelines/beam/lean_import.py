"""Importing Beam without the connectors that no pipeline here uses.

Beam imports what it finds of Google Cloud, MongoDB and pandas, two thirds of its start-up, and does
without what is missing. For runs on this machine these are hidden while it is imported, and can be
imported as usual afterwards (files at gs:// are read by other means); for other runners Beam is
imported whole.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence

_UNUSED = (
    "apitools",
    "bson",
    "google.auth",
    "google.cloud.bigquery",
    "google.cloud.bigquery_storage_v1",
    "google.cloud.dataflow",
    "google.cloud.pubsub",
    "google.cloud.pubsub_v1",
    "google.cloud.storage",
    "pandas",
    "pymongo",
)


def import_beam(beam_args: Sequence[str]) -> None:
    """Imports ``apache_beam`` for a run with these Beam options."""
    # A name may stand in the same argument or in the next.
    elsewhere = any(a.startswith("--runner") for a in beam_args) and not any(
        "Direct" in a for a in beam_args
    )
    if "apache_beam" in sys.modules:
        return
    hidden = [name for name in _UNUSED if name not in sys.modules and not elsewhere]
    for name in hidden:
        sys.modules[name] = None  # type: ignore[assignment]
    before = logging.root.manager.disable
    try:
        # Beam logs a warning that MongoDB is missing.
        logging.disable(logging.WARNING)
        import apache_beam  # noqa: F401
    finally:
        logging.disable(before)
        for name in hidden:
            sys.modules.pop(name, None)
