"""Pages about a run, from the templates beside this file, in the frame of all pages.

Those that lie in one folder find each other.
"""

from __future__ import annotations

import os
import re
from functools import partial
from pathlib import Path

from pipelines.pages import render as pages
from pipelines.storage import files
from trainer.run_folder import REPORT

render = partial(pages.render, folder=Path(__file__).parent / "templates")
_STEP_PAGE = re.compile(r"step-(\d+)\.html")


def step_page(step: int) -> str:
    """The name of a step's page, by which the run's report finds it."""
    return f"step-{step}.html"


def find_step_pages(report: str) -> list[str]:
    """The names of the steps' pages beside a report, by ascending step."""
    folder = os.path.dirname(report) or "."
    found = filter(None, map(_STEP_PAGE.fullmatch, files.names_in(folder)))
    return [name[0] for name in sorted(found, key=lambda name: int(name[1]))]


def link_to_report(page: str, run: str) -> str | None:
    """The address of a run's report from a page; None where they do not lie together."""
    together = files.join(os.path.dirname(page) or ".", REPORT) == files.join(run, REPORT)
    return REPORT if together and files.exists(files.join(run, REPORT)) else None
