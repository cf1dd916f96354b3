"""Pages about a run, from the templates beside this file, in the frame of all pages."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from pipelines.pages import render as pages

render = partial(pages.render, folder=Path(__file__).parent / "templates")
