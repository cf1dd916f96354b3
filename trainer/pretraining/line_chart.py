"""Line charts over the steps of a run as inline SVG: the geometry; a template draws them.

Where a series has more points than the chart has room for, each drawn point is the mean of some.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from markupsafe import Markup

from trainer.pretraining.page import render

# The edges of the frame that lines are in, in pixels before scaling, within 640 by 290.
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 626, 34, 250
_MOST_POINTS = 300
# Points (step, value) by ascending step.
Points = Sequence[tuple[float, float]]


def draw_chart(
    title: str, series: Mapping[str, Points], *, unit: str = "", from_zero: bool = False
) -> Markup:
    """The chart as an ``<svg>`` element.

    Args:
        title: what the vertical axis shows, in ``unit``.
        series: points by their name in the legend; those without finite values are left out; if all
            are, the result is empty.
        from_zero: the vertical axis begins at 0 instead of near the smallest value.
    """
    drawn = {name: thin for name, points in series.items() if (thin := _thin_out(points))}
    if not drawn:
        return Markup("")
    steps, values = zip(*(point for points in drawn.values() for point in points), strict=True)
    first, last = min(steps), max(steps)
    y_ticks = nice_ticks(0.0 if from_zero else min(values), max(values))
    x_ticks = [x for x in nice_ticks(first, last) if first <= x <= last]

    def across(x: float) -> float:
        return _scale(x, first, last, _LEFT, _RIGHT)

    def down(y: float) -> float:
        return _scale(y, y_ticks[0], y_ticks[-1], _BOTTOM, _TOP)

    return render(
        "line_chart.svg.j2",
        title=title,
        unit=unit,
        left=_LEFT,
        right=_RIGHT,
        bottom=_BOTTOM,
        y_ticks=[(down(y), _as_label(y)) for y in y_ticks],
        x_ticks=[(across(x), _as_label(x)) for x in x_ticks],
        lines={
            name: [(across(x), down(y), f"step {x:,.0f}: {y:.6g}") for x, y in points]
            for name, points in drawn.items()
        },
    )


def _scale(value: float, low: float, high: float, start: float, end: float) -> float:
    """The pixel between start and end that corresponds to ``value`` between low and high."""
    share = (value - low) / (high - low) if high > low else 0.5
    return round(start + share * (end - start), 1)


def nice_ticks(low: float, high: float, most: int = 6) -> list[float]:
    """At most ``most`` + 1 round numbers at equal distances, from at or below low to at or above high.

    >>> nice_ticks(0.3, 9.1)
    [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]
    """
    largest = max(abs(low), abs(high))
    if high - low <= max(1e-12 * largest, 1e-200):
        margin = largest / 2 if largest > 1e-200 else 0.5
        low, high = low - margin, high + margin
    power = 10.0 ** math.floor(math.log10((high - low) / most))
    for factor in (1, 2, 5, 10, 20):
        distance = factor * power
        first, last = math.floor(low / distance), math.ceil(high / distance)
        if last - first <= most:
            break
    return [number * distance for number in range(first, last + 1)]


def _thin_out(points: Points) -> list[tuple[float, float]]:
    """At most _MOST_POINTS points: the last step and the mean value of stretches of equal length."""
    finite = [point for point in points if math.isfinite(point[1])]
    stretches = np.array_split(np.array(finite), min(_MOST_POINTS, len(finite)) or 1)
    return [(float(s[-1, 0]), float(s[:, 1].mean())) for s in stretches if len(s)]


def _as_label(value: float) -> str:
    if value and abs(value) < 1e-3:
        return f"{value:.3g}"
    return f"{value:,.10g}" if abs(value) < 1e4 else f"{value / 1e3:,.10g}k"
