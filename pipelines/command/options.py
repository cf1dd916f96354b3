"""The properties of a config field beside its type and default.

A stage's config is a dataclass; its fields are the flags and the YAML keys, each documented by the
string below it. ``option`` adds what no type can say: whether the field decides what is made, and
under which heading ``--help`` lists it. A plain default is an option that decides and has no heading.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

# The heading of what a command cannot do without, and of what most runs should set.
CHOOSE = "what you must choose"
# The metavars of options that name files and folders.
PATHS = ("DIR", "FILE", "PATH")


def option(
    default: Any = dataclasses.MISSING,
    *,
    group: str | None = None,
    decides: bool | Literal["unless default"] = True,
    metavar: str | None = None,
    words: Mapping[str, Any] | None = None,
) -> Any:
    """A field of a config; without ``default`` the user must give it.

    group: the heading it stands under in ``--help``.
    decides: whether an output made with another value is another output. Where files lie, and what
        is only watched or kept, decides nothing. "unless default": an option that is younger than
        outputs there may be; at its default they stay the same outputs.
    metavar: what stands for its value in ``--help``, such as ``DIR``; default: by its type.
    words: of a switch that has become a choice, the values by their names; true and false go on too.
    """
    metadata = {"group": group, "decides": decides, "metavar": metavar, "words": words}
    return dataclasses.field(default=default, metadata=metadata)


def deciding_fields(config: Any) -> dict[str, Any]:
    """The fields that decide the bytes of the output: what a manifest holds of the config."""
    values = dataclasses.asdict(config)
    deciding = {}
    for field in dataclasses.fields(config):
        decides = field.metadata.get("decides", True)
        if decides == "unless default":
            decides = values[field.name] != field.default
        if decides:
            deciding[field.name] = values[field.name]
    return deciding
