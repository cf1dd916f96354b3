"""The table that a stage prints when it is done."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tabulate import tabulate


def print_summary(*parts: Mapping[str, Any] | Iterable[tuple[str, Any]]) -> None:
    """Prints names and values, one a line; counts of zero and what is None are left out."""
    rows: list[list[str]] = []
    for part in parts:
        for name, value in part.items() if isinstance(part, Mapping) else part:
            rows += _lines(name, value)
    print(tabulate(rows, tablefmt="plain", disable_numparse=True, colalign=("left", "right")))


def _lines(name: str, value: Any) -> list[list[str]]:
    if isinstance(value, Mapping):
        return [line for key, item in value.items() for line in _lines(f"{name} {key}", item)]
    if value is None or value is False or value == 0:
        return []
    if value is True:
        text = "yes"
    elif isinstance(value, int):
        text = f"{value:,}"
    elif isinstance(value, float):
        text = f"{value:,.2f}" if abs(value) >= 1 else f"{value:.3g}"
    else:
        text = str(value)
    return [[name.replace("_", " "), text]]
