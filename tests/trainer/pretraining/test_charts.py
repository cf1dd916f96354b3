"""Charts as SVG: well formed, with every series inside the frame."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trainer.pretraining.pages.charts import draw_chart, nice_ticks

number = st.floats(-1e9, 1e9)


@given(number, number)
@example(0.0, 5e-324)
@example(1e-310, 1e-310)
def test_ticks_enclose_the_values(a, b):
    low, high = min(a, b), max(a, b)
    if high - low < 1e-6 * max(abs(low), abs(high), 1e-200):
        low = high
    ticks = nice_ticks(low, high)
    assert 2 <= len(ticks) <= 8
    # Up to rounding.
    slack = 1e-9 * (ticks[-1] - ticks[0])
    assert ticks[0] <= low + slack
    assert ticks[-1] >= high - slack
    distances = [after - before for before, after in zip(ticks, ticks[1:], strict=False)]
    assert distances == pytest.approx([distances[0]] * len(distances), rel=1e-3)


def places(svg):
    lines = ET.fromstring(svg).iter("polyline")
    return [
        [tuple(map(float, place.split(","))) for place in line.get("points").split()]
        for line in lines
    ]


def test_lines_rise_where_values_rise():
    rising = [(step, step**2) for step in range(1, 2001)]
    falling = [(step, -2000 * step) for step in (1, 1000, 2000)]
    svg = draw_chart('A "title" <b>', {"up <&>": rising, "down": falling}, unit="nats")
    up, down = places(svg)
    assert len(up) == 300
    assert len(down) == 3
    assert all(a < b for (a, _), (b, _) in zip(up, up[1:], strict=False))
    # In SVG y grows downwards.
    assert all(a >= b for (_, a), (_, b) in zip(up, up[1:], strict=False))
    assert down[0][1] < down[1][1] < down[2][1]
    assert all(0 <= x <= 640 and 0 <= y <= 290 for line in (up, down) for x, y in line)
    assert len(list(ET.fromstring(svg).iter("circle"))) == 3
    texts = ["".join(text.itertext()) for text in ET.fromstring(svg).iter("text")]
    assert texts[0] == 'A "title" <b> (nats)'
    assert {"step", "up <&>", "down", "2,000"} <= set(texts)


def test_nothing_to_draw():
    assert draw_chart("t", {}) == ""
    assert draw_chart("t", {"a": [], "b": [(1, math.nan)]}) == ""
    assert places(draw_chart("t", {"a": [(5, 2.0)]})) == [[pytest.approx((344, 142), abs=5)]]
