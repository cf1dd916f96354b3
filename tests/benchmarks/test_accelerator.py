"""The benchmark for accelerators runs on any device."""

from __future__ import annotations

import numpy as np

from tests.benchmarks.accelerator import check_form, time_step


def test_a_step_is_timed_and_its_attention_checked() -> None:
    timed = time_step("bert_tiny", 32, "chosen", 2, 1)
    assert timed["ms"] > 0
    assert timed["tokens_per_s"] > timed["real_tokens_per_s"] > 0
    assert abs(timed["loss"] - np.log(30_522)) < 1
    differences = check_form("chosen")
    assert differences.pop("neighbour") == 0
    assert max(differences.values()) < 0.05
