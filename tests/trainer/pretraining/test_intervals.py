"""How often a run logs and validates when nobody says: enough for curves, at little cost."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from tests.command_process import TINY
from trainer.pretraining.intervals import log_interval, validation_interval


@given(st.integers(2, 10**7), st.integers(0, 10**5), st.integers(1, 300))
def test_curves_have_points_and_cost_little(steps, batches, chosen):
    lines = steps // log_interval(steps)
    assert min(100, steps) <= lines <= max(200, steps // 100)
    every = validation_interval(steps, batches, log_interval(steps))
    assert every % log_interval(steps) == 0
    other = validation_interval(steps, batches, chosen)
    assert other % chosen == 0 or chosen + other > steps
    validations = -(-steps // every)
    assert 2 <= validations <= 20
    # A twelfth of the time, unless that leaves one point.
    assert validations == 2 or batches * steps // every / 3 <= steps / 12 + 1


def test_a_short_run_has_curves(make_rows, pretrain_here, tmp_path):
    options = {name: value for name, value in TINY.items() if name != "log_every"}
    said = pretrain_here(data=make_rows(), output=tmp_path / "run", steps=30, **options)
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert len(lines) == 30
    validated = [line["step"] for line in lines if "validation_loss" in line]
    assert validated == [8, 16, 24, 30]  # two batches
    assert "only 9 validation rows, about 43 masks: too few to tell" in said
    masks, commonest = (lines[-1][f"validation_{name}"] for name in ("masks", "commonest"))
    assert f"of {masks:,} masks (the commonest token alone: {commonest:.2%})" in said
