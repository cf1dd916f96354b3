"""The frame of a chart, and the round numbers at its axes."""

from __future__ import annotations

import math

# The frame that lines and bars are in, in units of the picture.
FRAME = LEFT, RIGHT, TOP, BOTTOM = 74.0, 640.0, 48.0, 252.0


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


def tick_label(value: float, percent: bool = False) -> str:
    """A round number at an axis."""
    if percent:
        return f"{100 * value:.10g}%"
    if value and abs(value) < 1e-3:
        return f"{value:.3g}"
    for least, unit, letter in ((1e6, 1e6, "M"), (1e4, 1e3, "k")):
        if abs(value) >= least:
            return f"{value / unit:,.10g}{letter}"
    return f"{value:,.10g}"
