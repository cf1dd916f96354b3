"""Line charts as inline SVG: what a report needs, without a library or a network.

A chart has one horizontal axis, one vertical axis that fits the values, and a few series; where a
series has more points than the chart has room for, each drawn point is the mean of its stretch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_WIDTH, _HEIGHT = 640, 280
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 14, 34, 30
_MOST_POINTS = 300
_COLOURS = ("#2463b4", "#d1662c", "#3b8a4d", "#8a4fa8")


@dataclass(frozen=True)
class Series:
    """Points (x, y) joined by a line, x ascending; single points far apart also get dots."""

    name: str
    points: Sequence[tuple[float, float]]


def draw_chart(title: str, series: Sequence[Series], zero: bool = False) -> str:
    """The chart as an ``<svg>`` element. With ``zero`` the vertical axis begins at 0.

    Series without finite values are left out; without any series the result is empty.
    """
    shown = [Series(s.name, _thinned(s.points)) for s in series]
    shown = [s for s in shown if s.points]
    if not shown:
        return ""
    xs = [x for s in shown for x, _ in s.points]
    ys = [y for s in shown for _, y in s.points]
    left, right = min(xs), max(xs)
    ticks = nice_ticks(0.0 if zero else min(ys), max(ys))
    low, high = ticks[0], ticks[-1]

    def across(x: float) -> float:
        share = (x - left) / (right - left) if right > left else 0.5
        return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)

    def down(y: float) -> float:
        return _TOP + (high - y) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)

    parts = [
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title)}">',
        f'<text x="{_LEFT}" y="16" class="title">{escape(title)}</text>',
    ]
    for tick in ticks:
        y = down(tick)
        parts.append(f'<path d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}" class="grid"/>')
        parts.append(
            f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{_as_label(tick)}</text>'
        )
    for tick in nice_ticks(left, right):
        if left <= tick <= right:
            x, y = across(tick), _HEIGHT - _BOTTOM + 18
            parts.append(f'<text x="{x:.1f}" y="{y}" text-anchor="middle">{_as_label(tick)}</text>')
    for i, s in enumerate(shown):
        colour = _COLOURS[i % len(_COLOURS)]
        places = [(across(x), down(y)) for x, y in s.points]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(f'<polyline points="{line}" stroke="{colour}" class="line"/>')
        if len(places) <= 30:
            parts += [
                f'<circle cx="{cx:.1f}" cy="{cy:.1f}" r="2.5" fill="{colour}">'
                f"<title>{escape(s.name)}, step {x:,.0f}: {y:.6g}</title></circle>"
                for (cx, cy), (x, y) in zip(places, s.points, strict=True)
            ]
        if len(shown) > 1:
            y = 16 + 15 * i
            parts.append(
                f'<text x="{_WIDTH - _RIGHT}" y="{y}" text-anchor="end" fill="{colour}" '
                f'class="name">{escape(s.name)}</text>'
            )
    return "".join(parts) + "</svg>"


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


def _thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    finite = [(x, y) for x, y in points if math.isfinite(y)]
    count = min(_MOST_POINTS, len(finite))
    cuts = [i * len(finite) // count for i in range(count + 1)] if count else []
    thinned = []
    for start, end in zip(cuts, cuts[1:], strict=False):
        part = finite[start:end]
        thinned.append((part[-1][0], sum(y for _, y in part) / len(part)))
    return thinned


def _as_label(value: float) -> str:
    if value and abs(value) < 1e-3:
        return f"{value:.3g}"
    return f"{value:,.10g}" if abs(value) < 1e4 else f"{value / 1e3:,.10g}k"
