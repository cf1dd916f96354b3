"""JSON whose values are of the wrong kind, size or name; well formed, so that it reaches who uses it."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from random import Random
from typing import Any

_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 7, 3.5, -0.0, 1e308, float("nan"), float("inf")),
    *(1 << 31, 1 << 40, 1 << 63, -(1 << 63), 10**400, 10**7),
    *(
        "",
        "0",
        "x",
        "a" * 3000,
        "\ud800",
        "\0",
        "a\nb",
        "\x1b[2J",
        "../x",
        "/etc/passwd",
        "gs://x/y",
    ),
    *([], {}, [[]], [None], ["a", "a"], {"": ""}, {"a": {"b": []}}, [1, "2", None], [0] * 3000),
)
_NAMES = ("", "text", "name", "config", "x", "__class__", "\x1b[2J", "\ud800")


def mutate_json(content: bytes, draw: Random) -> bytes:
    """The JSON after one change or several; what is none stays as it is."""
    try:
        value = [json.loads(content)]
    except (ValueError, RecursionError):
        return content
    for _ in range(draw.choice((1, 1, 1, 2, 4))):
        _change(value, draw)
    return json.dumps(value[0]).encode()


def mutate_json_lines(content: bytes, draw: Random) -> bytes:
    """The same for one of the lines."""
    lines = content.split(b"\n")
    at = draw.randrange(len(lines))
    lines[at] = mutate_json(lines[at], draw)
    return b"\n".join(lines)


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """(container, key) of every value inside."""
    if isinstance(value, dict | list):
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from _places(value[key])


def _change(value: list[Any], draw: Random) -> None:
    places = list(_places(value))
    container, key = draw.choice(places)
    kind = draw.randrange(8)
    if kind == 0 and container is not value:
        del container[key]
    elif kind == 1:
        container[key] = copy.deepcopy(draw.choice([holder[name] for holder, name in places]))
    elif kind == 2 and isinstance(container, dict):
        container[draw.choice((*_NAMES, *container))] = container.pop(key)
    elif kind == 3 and isinstance(container, dict):
        container[draw.choice(_NAMES)] = copy.deepcopy(draw.choice(_VALUES))
    elif kind == 4 and isinstance(container, list) and container is not value:
        container.insert(key, copy.deepcopy(container[key]))
    elif kind == 5 and isinstance(container[key], int | float) and container[key] == container[key]:
        container[key] += draw.choice((-1, 1, 1000, 1 << 33))
    else:
        container[key] = copy.deepcopy(draw.choice(_VALUES))
