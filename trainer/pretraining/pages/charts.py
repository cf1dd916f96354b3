"""The charts of a pretraining run over its steps, from the lines of metrics.jsonl.

A template writes them as inline SVG; here are their scales, and where everything stands.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, nan
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
class Chart:
    """A line chart that a run may have: ``metrics`` by their names in the legend, in ``unit``.

    ``from_zero``: the vertical axis begins at 0 instead of near the smallest value; ``percent``: values
    are shares.
    """

    title: str
    unit: str
    metrics: Mapping[str, str]
    from_zero: bool = True
    percent: bool = False


_CHARTS = (
    Chart(
        "Loss",
        "nats a masked token",
        {
            "training": "mean_loss",
            "validation": "validation_loss",
            "guessing by frequency": "validation_frequency_loss",
        },
        from_zero=False,
    ),
    Chart(
        "Masked tokens right",
        "",
        {"training": "mean_accuracy", "validation": "validation_accuracy"},
        percent=True,
    ),
    Chart("Learning rate", "", {"": "learning_rate"}),
    Chart("Speed", "tokens a second, without padding", {"": "tokens_per_second"}),
    Chart("Time spent waiting for data", "", {"": "data_wait"}, percent=True),
    Chart("Share of the devices' peak arithmetic", "MFU", {"": "mfu"}, percent=True),
    Chart("Arithmetic", "TFLOP/s", {"": "tflops"}),
    Chart("Gradient norm", "", {"": "gradient_norm"}),
    Chart(
        "Size of a step",
        "length of the kernels' update / length of the kernels",
        {"": "update_ratio"},
    ),
    Chart(
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
    # MFU is the same curve in another unit.
    left_out = "tflops" if "mfu" in logged else None
    return [draw_chart(chart, lines) for chart in _CHARTS if left_out not in chart.metrics.values()]


def draw_chart(chart: Chart, lines: Sequence[Mapping[str, Any]]) -> Markup:
    """The chart as an ``<svg>`` element; empty without finite values.

    The legend tells the last value of each metric, and pointing at a step tells those of that step.
    """
    every = {
        label: [(line["step"], line[name]) for line in lines if isfinite(line.get(name, nan))]
        for label, name in chart.metrics.items()
    }
    series = {label: _thin_out(points) for label, points in every.items() if points}
    if not series:
        return Markup("")
    steps, values = zip(*(point for points in series.values() for point in points), strict=True)
    first, last = min(steps), max(steps)
    ticks = nice_ticks(0.0 if chart.from_zero else min(values), max(values))

    def across(step: float) -> float:
        share = (step - first) / (last - first) if last > first else 0.5
        return round(LEFT + (RIGHT - LEFT) * share, 1)

    def down(value: float) -> float:
        share = (value - ticks[0]) / (ticks[-1] - ticks[0])
        return round(BOTTOM - (BOTTOM - TOP) * share, 1)

    return render(
        "chart.svg.j2",
        title=chart.title,
        unit=chart.unit,
        frame=FRAME,
        legend={label: _describe(every[label][-1][1], chart.percent) for label in series},
        lines=[[(across(step), down(value)) for step, value in p] for p in series.values()],
        values=[(down(value), tick_label(value, chart.percent)) for value in ticks],
        steps=[(across(x), tick_label(x)) for x in nice_ticks(first, last) if first <= x <= last],
        bands=_bands(series, across, chart.percent),
    )


def _bands(
    series: Mapping[str, Points], across: Callable[[float], float], percent: bool
) -> list[tuple[float, str, float, float]]:
    """For each step where it stands, what is told of it, and from where to where pointing means it."""
    told: dict[float, list[str]] = {}
    for label, points in series.items():
        for step, value in points:
            told.setdefault(step, []).append(f"{label} {_describe(value, percent)}".strip())
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
    stretches = np.array_split(np.array(points), min(_MOST_POINTS, len(points)))
    return [(float(s[-1, 0]), float(s[:, 1].mean())) for s in stretches]
