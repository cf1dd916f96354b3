"""The phases of a run at a budget of tokens."""

from __future__ import annotations

import argparse
from pathlib import Path

from tests.workflows.budgets import Settings, settings_of


def settings(millions: str) -> Settings:
    options = argparse.Namespace(data="data/imdb", output="runs", restarts=3)
    return settings_of(f"2x256:muon:{millions}", Path("runs/one"), 1, options)


def test_the_whole_budget_is_the_config_itself() -> None:
    whole = settings("116.003")
    assert (whole["pretrain_128"]["steps"], whole["pretrain"]["steps"]) == (4321, 24_000)
    assert whole["pretrain"]["initial_run"] == whole["pretrain_128"]["output"]


def test_a_smaller_one_keeps_time_for_long_rows() -> None:
    small = settings("8")
    short = 32 * 128 * small["pretrain_128"]["steps"]
    long = 16 * 256 * small["pretrain"]["steps"]
    assert abs(short - 2.4e6) < 4096
    assert abs(short + long - 8e6) < 4096
