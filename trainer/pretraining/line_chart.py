"""Line charts as inline SVG, without a library or a network: the geometry; a template draws them.

A chart has one horizontal axis, one vertical axis that fits the values, and a few series; where a
series has more points than the chart has room for, each drawn point is the mean of its stretch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from trainer.pretraining.page import render

# The drawing and, within it, the edges of the frame that lines are in: pixels before scaling.
_WIDTH, _HEIGHT = 640, 290
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 626, 34, 250
_MOST_POINTS = 300
# A series of at most so many points shows each as a dot, with its value under the mouse.
_MOST_DOTS = 30


@dataclass(frozen=True)
class Series:
    """Points (x, y) joined by a line, x ascending."""

    name: str
    points: Sequence[tuple[float, float]]


def draw_chart(
    title: str,
    series: Sequence[Series],
    *,
    unit: str = "",
    x_name: str = "",
    from_zero: bool = False,
) -> Markup:
    """The chart as an ``<svg>`` element.

    Args:
        title: what the vertical axis shows, in ``unit``; ``x_name``: what the horizontal axis shows.
        series: those without finite values are left out; without any the result is empty.
        from_zero: the vertical axis begins at 0 instead of near the smallest value.
    """
    drawn = [Series(one.name, points) for one in series if (points := _thin_out(one.points))]
    if not drawn:
        return Markup("")
    xs = [x for one in drawn for x, _ in one.points]
    ys = [y for one in drawn for _, y in one.points]
    y_ticks = nice_ticks(0.0 if from_zero else min(ys), max(ys))
    x_ticks = [x for x in nice_ticks(min(xs), max(xs)) if min(xs) <= x <= max(xs)]

    def across(x: float) -> float:
        return _place(x, min(xs), max(xs), _LEFT, _RIGHT)

    def down(y: float) -> float:
        return _place(y, y_ticks[0], y_ticks[-1], _BOTTOM, _TOP)

    return render(
        "line_chart.svg.j2",
        title=title,
        unit=unit,
        x_name=x_name,
        width=_WIDTH,
        height=_HEIGHT,
        left=_LEFT,
        right=_RIGHT,
        bottom=_BOTTOM,
        y_ticks=[(down(y), _as_label(y)) for y in y_ticks],
        x_ticks=[(across(x), _as_label(x)) for x in x_ticks],
        lines=[
            (
                one.name,
                [(across(x), down(y), f"{x_name} {x:,.0f}: {y:.6g}") for x, y in one.points],
            )
            for one in drawn
        ],
        most_dots=_MOST_DOTS,
    )


def _place(value: float, low: float, high: float, start: float, end: float) -> float:
    """Where ``value`` between low and high lies between the pixels start and end."""
    share = (value - low) / (high - low) if high > low else 0.5
    return round(start + share * (end - start), 1)


def nice_ticks(low: float, high: float, most: int = 6) -> list[float]:
    """At most ``most`` + 1 round numbers at equal distances, from at or below low to at or above high.

    >>> nice_ticks(0.3, 9.1)
    [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]
    """
    spread = high - low
    if spread <= max(1e-12 * max(abs(low), abs(high)), 1e-300):
        # Below that, as good as 0: the numbers would be too small to be divided.
        spread = abs(high) if abs(high) > 1e-290 else 1.0
        low, high = low - spread / 2, high + spread / 2
    power = 10.0 ** math.floor(math.log10(spread / most))
    for factor in (1, 2, 5, 10, 20):
        distance = factor * power
        first, last = math.floor(low / distance), math.ceil(high / distance)
        if last - first <= most:
            break
    return [number * distance for number in range(first, last + 1)]


def _thin_out(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most _MOST_POINTS points: the last x and the mean y of stretches of about equal length."""
    finite = [(x, y) for x, y in points if math.isfinite(y)]
    count = min(_MOST_POINTS, len(finite))
    stretches = (
        finite[i * len(finite) // count : (i + 1) * len(finite) // count] for i in range(count)
    )
    return [(stretch[-1][0], sum(y for _, y in stretch) / len(stretch)) for stretch in stretches]


def _as_label(value: float) -> str:
    if value and abs(value) < 1e-3:
        return f"{value:.3g}"
    return f"{value:,.10g}" if abs(value) < 1e4 else f"{value / 1e3:,.10g}k"
