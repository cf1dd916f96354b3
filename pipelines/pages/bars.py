"""Bar charts: how many of what there are, as inline SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from pipelines.pages.axes import BOTTOM, FRAME, LEFT, RIGHT, TOP, nice_ticks, tick_label
from pipelines.pages.render import render

_GAP = 0.12  # of a bar's place
_MOST_LABELS = 11


def draw_bars(title: str, bars: Mapping[str, int], *, unit: str = "", across: str = "") -> Markup:
    """Bars side by side, each with its label; pointing at one tells its number and its share.

    ``unit``: what the numbers count; ``across``: what the labels are. Empty where nothing is counted.
    """
    total = sum(bars.values())
    if not total:
        return Markup("")
    ticks = nice_ticks(0.0, max(bars.values()))

    def down(value: float) -> float:
        return round(BOTTOM - (BOTTOM - TOP) * value / ticks[-1], 1)

    place = (RIGHT - LEFT) / len(bars)
    every = -(-len(bars) // _MOST_LABELS)
    drawn = [
        {
            "x": round(LEFT + place * (number + _GAP / 2), 1),
            "middle": round(LEFT + place * (number + 0.5), 1),
            "y": down(value),
            "label": label if number % every == 0 else "",
            "told": f"{label}: {value:,} {unit}, {value / total:.1%}",
        }
        for number, (label, value) in enumerate(bars.items())
    ]
    return render(
        "bars.svg.j2",
        title=title,
        unit=unit,
        across=across,
        frame=FRAME,
        width=round(place * (1 - _GAP), 1),
        bars=drawn,
        values=[(down(value), tick_label(value)) for value in ticks],
    )


def count_shares(shares: NDArray[np.float64], parts: int = 20) -> dict[str, int]:
    """How many of the shares, 0 to 1, are in each of ``parts`` equal parts, by its upper end."""
    places = np.minimum(np.ceil(shares * parts).astype(np.int64) - 1, parts - 1).clip(0)
    counts = np.bincount(places, minlength=parts).tolist()
    return {f"{100 * (i + 1) // parts}%": count for i, count in enumerate(counts)}


def count_doublings(values: NDArray[np.int64]) -> dict[str, int]:
    """How many of the values, from 1, are in each doubling: up to 1, 2, 4, 8 …"""
    if not len(values):
        return {}
    places = np.ceil(np.log2(np.maximum(values, 1))).astype(np.int64)
    first, counts = int(places.min()), np.bincount(places).tolist()
    return {_short(1 << i): count for i, count in enumerate(counts) if i >= first}


def count_up_to(counts: Sequence[int]) -> dict[str, int]:
    """Counts of 1, 2, 3 …, of which the last stands for all from there on."""
    labels = [*map(str, range(1, len(counts))), f"{len(counts)}+"]
    return dict(zip(labels, counts, strict=True))


def _short(value: int) -> str:
    return f"≤ {value:,}" if value < 1 << 14 else f"≤ {value >> 10:,}k"
