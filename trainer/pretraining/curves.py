"""The charts of a pretraining run, from the lines of its metrics.jsonl."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from trainer.pretraining.line_chart import draw_chart

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


def draw_curves(lines: Sequence[Mapping[str, Any]]) -> list[Markup]:
    """The charts; empty ones for metrics without any values."""
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
