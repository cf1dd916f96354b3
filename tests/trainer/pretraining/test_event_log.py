"""TensorBoard's own reader finds each logged step once, however often a run was resumed."""

from __future__ import annotations

import sys
import types

import pytest

from trainer.pretraining.logs.metrics import MetricsLog, read_metrics


def line(step):
    return {"step": step, "seconds": step / 2, "loss": 1 / step, "mfu": 0.5, "epoch": 0.1 * step}


def read_events(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tensorboard")).Reload()
    return {tag: events.Scalars(tag) for tag in events.Tags()["scalars"]}


@pytest.fixture(autouse=True)
def no_tensorflow(monkeypatch):
    """As on a machine that has none; TensorBoard itself asks for ``notf``."""
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    monkeypatch.setitem(sys.modules, "tensorboard.compat.notf", types.ModuleType("notf"))


def test_events_are_the_metrics(tmp_path):
    log = MetricsLog(str(tmp_path), 0, 0.0)
    for step in (1, 2, 3, 4):
        log.write(line(step))
    # Killed here: the log is not closed, and checkpoint 2 is the newest.
    log = MetricsLog(str(tmp_path), 2, 1.0)
    for step in (3, 4, 5):
        log.write(line(step))
    log.close()
    found = read_events(tmp_path)
    assert set(found) == {"loss/loss", "speed/mfu", "training/epoch"}
    assert [event.step for event in found["loss/loss"]] == [1, 2, 3, 4, 5]
    for event, logged in zip(found["loss/loss"], read_metrics(str(tmp_path)), strict=True):
        assert event.value == pytest.approx(logged["loss"], rel=1e-7)
    times = [event.wall_time for event in found["speed/mfu"]]
    assert times[4] - times[0] == pytest.approx(2.0, abs=0.01)
