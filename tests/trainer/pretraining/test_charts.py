"""Charts as SVG: well formed, with every series inside the frame."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipelines.pages.axes import nice_ticks
from trainer.pretraining.pages.charts import Chart, draw_chart

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
    lines = [{"step": step, "rising": step**2} for step in range(1, 2001)]
    for number in (0, 999, 1999):
        lines[number]["falling"] = -2000 * lines[number]["step"]
    metrics = {"up <&>": "rising", "down": "falling"}
    svg = draw_chart(Chart('A "title" <b>', "nats", metrics, from_zero=False), lines)
    up, down = places(svg)
    assert len(up) == 200
    assert len(down) == 3
    assert all(a < b for (a, _), (b, _) in zip(up, up[1:], strict=False))
    # In SVG y grows downwards.
    assert all(a >= b for (_, a), (_, b) in zip(up, up[1:], strict=False))
    assert down[0][1] < down[1][1] < down[2][1]
    assert all(74 <= x <= 640 and 48 <= y <= 252 for line in (up, down) for x, y in line)
    assert len(list(ET.fromstring(svg).iter("circle"))) == 3
    texts = ["".join(text.itertext()) for text in ET.fromstring(svg).iter("text")]
    assert texts[0] == 'A "title" <b> (nats)'
    assert {"step", "2,000", "step 2,000: up <&> 3,982,028, down -4,000,000"} <= set(texts)
    assert "━ up <&> 4,000,000● down -4,000,000" in {text.strip() for text in texts}


def test_shares_are_in_per_cent_and_every_place_tells_its_values():
    lines = [{"step": step, "right": value} for step, value in ((1, 0.05), (2, 0.1), (4, 0.123))]
    svg = draw_chart(Chart("right", "", {"": "right"}, percent=True), lines)
    texts = ["".join(text.itertext()) for text in ET.fromstring(svg).iter("text")]
    assert {"0%", "5%", "15%", "step 1: 5%", "step 4: 12.3%"} <= set(texts)
    bands = sorted(
        (float(r.get("x")), float(r.get("width"))) for r in ET.fromstring(svg).iter("rect")
    )
    ends = [x + width for x, width in bands]
    assert [x for x, _ in bands] == pytest.approx([74, *ends[:-1]], abs=0.2)
    assert ends[-1] == pytest.approx(640, abs=0.2)


def test_nothing_to_draw():
    chart = Chart("t", "", {"a": "a", "b": "b"}, from_zero=False)
    assert draw_chart(chart, []) == ""
    assert draw_chart(chart, [{"step": 1, "b": math.nan}]) == ""
    assert places(draw_chart(chart, [{"step": 5, "a": 2.0}])) == [
        [pytest.approx((357, 150), abs=5)]
    ]
