"""The charts of a pretraining run over its steps, from the lines of metrics.jsonl.

A template writes them as inline SVG; here are their scales, and where everything stands.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from pipelines.pages.axes import BOTTOM, FRAME, LEFT, RIGHT, TOP, nice_ticks, tick_label
from trainer.pretraining.pages.render import render

# More points than the chart has room for are thinned out to so many.
_MOST_POINTS = 200
# Points (step, value) by ascending step.
Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class _Kind:
    """A chart that a run may have: ``metrics`` by their names in the legend."""

    title: str
    unit: str
    metrics: Mapping[str, str]
    from_zero: bool = True
    percent: bool = False


_CHARTS = (
    _Kind(
        "Loss",
        "nats a masked token",
        {
            "training": "mean_loss",
            "validation": "validation_loss",
            "guessing by frequency": "validation_frequency_loss",
        },
        from_zero=False,
    ),
    _Kind(
        "Masked tokens right",
        "",
        {"training": "mean_accuracy", "validation": "validation_accuracy"},
        percent=True,
    ),
    _Kind("Learning rate", "", {"": "learning_rate"}),
    _Kind("Speed", "tokens a second, without padding", {"": "tokens_per_second"}),
    _Kind("Time spent waiting for data", "", {"": "data_wait"}, percent=True),
    _Kind("Share of the devices' peak arithmetic", "MFU", {"": "mfu"}, percent=True),
    _Kind("Arithmetic", "TFLOP/s", {"": "tflops"}),
    _Kind("Gradient norm", "", {"": "gradient_norm"}),
    _Kind(
        "Size of a step",
        "length of the kernels' update / length of the kernels",
        {"": "update_ratio"},
    ),
    _Kind(
        "Next sentences right",
        "",
        {
            "training": "next_sentence_accuracy",
            "validation": "validation_next_sentence_accuracy",
        },
        from_zero=False,
        percent=True,
    ),
)


def draw_charts(lines: Sequence[Mapping[str, Any]]) -> list[Markup]:
    """A chart of each kind of metric; empty for those without any values."""
    logged = {name for line in lines for name in line}
    charts = []
    for kind in _CHARTS:
        if "tflops" in kind.metrics.values() and "mfu" in logged:
            continue  # The same curve in another unit.
        series = {
            label: [(line["step"], line[name]) for line in lines if name in line]
            for label, name in kind.metrics.items()
        }
        charts.append(
            draw_chart(
                kind.title,
                series,
                unit=kind.unit,
                from_zero=kind.from_zero,
                percent=kind.percent,
            )
        )
    return charts


def draw_chart(
    title: str,
    series: Mapping[str, Points],
    *,
    unit: str = "",
    from_zero: bool = False,
    percent: bool = False,
) -> Markup:
    """A line chart as an ``<svg>`` element.

    The legend tells the last value of each line, and pointing at a step tells those of that step.

    Args:
        title: what the vertical axis shows, in ``unit``.
        series: points by their name in the legend; those without finite values are left out; if all
            are, the result is empty.
        from_zero: the vertical axis begins at 0 instead of near the smallest value.
        percent: values are shares.
    """
    lines = {name: thinned for name, points in series.items() if (thinned := _thin_out(points))}
    if not lines:
        return Markup("")
    steps, values = zip(*(point for points in lines.values() for point in points), strict=True)
    first, last = min(steps), max(steps)
    ticks = nice_ticks(0.0 if from_zero else min(values), max(values))

    def across(step: float) -> float:
        share = (step - first) / (last - first) if last > first else 0.5
        return round(LEFT + (RIGHT - LEFT) * share, 1)

    def down(value: float) -> float:
        share = (value - ticks[0]) / (ticks[-1] - ticks[0])
        return round(BOTTOM - (BOTTOM - TOP) * share, 1)

    return render(
        "chart.svg.j2",
        title=title,
        unit=unit,
        frame=FRAME,
        legend={name: _describe(_finite(series[name])[-1][1], percent) for name in lines},
        lines=[[(across(step), down(value)) for step, value in p] for p in lines.values()],
        values=[(down(value), tick_label(value, percent)) for value in ticks],
        steps=[(across(x), tick_label(x)) for x in nice_ticks(first, last) if first <= x <= last],
        bands=_bands(lines, across, percent),
    )


def _bands(
    lines: Mapping[str, Points], across: Callable[[float], float], percent: bool
) -> list[tuple[float, str, float, float]]:
    """For each step where it stands, what is told of it, and from where to where pointing means it."""
    told: dict[float, list[str]] = {}
    for name, points in lines.items():
        for step, value in points:
            told.setdefault(step, []).append(f"{name} {_describe(value, percent)}".strip())
    places = [(across(step), f"step {step:,.0f}: {', '.join(told[step])}") for step in sorted(told)]
    middles = [round((a + b) / 2, 1) for (a, _), (b, _) in zip(places, places[1:], strict=False)]
    edges = zip([LEFT, *middles], [*middles, RIGHT], strict=True)
    return [(*place, *edge) for place, edge in zip(places, edges, strict=True)]


def _describe(value: float, percent: bool) -> str:
    """Any value, to three or four figures."""
    if percent:
        return f"{100 * value:.3g}%"
    return f"{value:.4g}" if abs(value) < 1e3 else f"{value:,.0f}"


def _thin_out(points: Points) -> list[tuple[float, float]]:
    """The last step and the mean value of at most _MOST_POINTS stretches of equal length."""
    finite = _finite(points)
    stretches = np.array_split(np.array(finite), min(_MOST_POINTS, len(finite)) or 1)
    return [(float(s[-1, 0]), float(s[:, 1].mean())) for s in stretches if len(s)]


def _finite(points: Points) -> list[tuple[float, float]]:
    return [point for point in points if math.isfinite(point[1])]
