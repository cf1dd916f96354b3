"""The charts of a pretraining run over its steps, from the lines of metrics.jsonl.

A template draws them as inline SVG; here are their values and the scales of their axes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from trainer.pretraining.pages.render import render

# More points than the chart has room for are thinned out to so many.
_MOST_POINTS = 300
# Points (step, value) by ascending step.
Points = Sequence[tuple[float, float]]
# Title, unit, the metrics shown with their names in the legend, whether the axis begins at 0.
_CHARTS = (
    ("Loss", "nats", {"mean_loss": "training", "validation_loss": "validation"}, False),
    ("Accuracy", "", {"mean_accuracy": "training", "validation_accuracy": "validation"}, True),
    ("Learning rate", "", {"learning_rate": ""}, True),
    ("Speed", "real tokens/s", {"tokens_per_second": ""}, True),
    ("Share of the time spent waiting for data", "", {"data_wait": ""}, True),
    ("Share of the devices' peak arithmetic", "MFU", {"mfu": ""}, True),
    ("Arithmetic", "TFLOP/s", {"tflops": ""}, True),
    ("Gradient norm", "", {"gradient_norm": ""}, True),
    (
        "Next-sentence accuracy",
        "",
        {
            "next_sentence_accuracy": "training",
            "validation_next_sentence_accuracy": "validation",
        },
        False,
    ),
)


def draw_charts(lines: Sequence[Mapping[str, Any]]) -> list[Markup]:
    """A chart of each kind of metric; empty for those without any values."""
    logged = {name for line in lines for name in line}
    charts = []
    for title, unit, legend, from_zero in _CHARTS:
        if "tflops" in legend and "mfu" in logged:
            continue  # The same curve in another unit.
        series = {
            label: [(line["step"], line[name]) for line in lines if name in line]
            for name, label in legend.items()
        }
        charts.append(draw_chart(title, series, unit=unit, from_zero=from_zero))
    return charts


def draw_chart(
    title: str, series: Mapping[str, Points], *, unit: str = "", from_zero: bool = False
) -> Markup:
    """A line chart as an ``<svg>`` element.

    Args:
        title: what the vertical axis shows, in ``unit``.
        series: points by their name in the legend; those without finite values are left out; if all
            are, the result is empty.
        from_zero: the vertical axis begins at 0 instead of near the smallest value.
    """
    lines = {name: thinned for name, points in series.items() if (thinned := _thin_out(points))}
    if not lines:
        return Markup("")
    steps, values = zip(*(point for points in lines.values() for point in points), strict=True)
    return render(
        "chart.svg.j2",
        title=title,
        unit=unit,
        lines=lines,
        steps=[x for x in nice_ticks(min(steps), max(steps)) if min(steps) <= x <= max(steps)],
        step_range=(min(steps), max(steps)),
        values=nice_ticks(0.0 if from_zero else min(values), max(values)),
    )


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
    """The last step and the mean value of at most _MOST_POINTS stretches of equal length."""
    finite = [point for point in points if math.isfinite(point[1])]
    stretches = np.array_split(np.array(finite), min(_MOST_POINTS, len(finite)) or 1)
    return [(float(s[-1, 0]), float(s[:, 1].mean())) for s in stretches if len(s)]
