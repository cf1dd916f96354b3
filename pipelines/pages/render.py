"""Pages from templates: those of one folder, and those beside this file, which hold the frame of all."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from tqdm import tqdm

from pipelines.pages.shown_tokens import group_words

_FOLDER = Path(__file__).parent / "templates"


def render(template: str, folder: Path = _FOLDER, **values: Any) -> Markup:
    """The text of a template in ``folder`` with the values, which are escaped unless they are Markup."""
    return Markup(_templates(folder).get_template(template).render(values))


@cache
def _templates(folder: Path) -> Environment:
    environment = Environment(
        loader=FileSystemLoader([folder, _FOLDER]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "as_words": _as_words,
        "duration": tqdm.format_interval,
        "group_words": group_words,
    }
    return environment


def _as_words(value: Any) -> str:
    """A value of a config or manifest for people: nested ones in a row, None as nothing."""
    if isinstance(value, Mapping):
        words = {name: _as_words(inner) for name, inner in value.items()}
        return ", ".join(f"{name} {inner}" for name, inner in words.items() if inner)
    if isinstance(value, list | tuple):
        return " ".join(map(_as_words, value))
    return "" if value is None else str(value)
