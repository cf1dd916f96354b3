"""Mutated inputs of every kind: each is read, or refused in one line, and nothing is lost in silence.

``python -m tests.fuzz`` is the long form.
"""

from __future__ import annotations

import pytest

from tests.fuzz.process import all_targets
from tests.fuzz.target import RIGHT, try_input

_INPUTS_EACH = 4


@pytest.fixture(scope="module")
def targets(tmp_path_factory):
    pytest.importorskip("keras")
    from trainer.pretraining.startup import without_tensorflow

    return without_tensorflow(all_targets)(tmp_path_factory.mktemp("made"))


def test_every_input_is_read_or_refused(targets, tmp_path):
    outcomes = [
        try_input(1, number, [target], tmp_path / "tried")
        for target in targets
        for number in range(_INPUTS_EACH)
    ]
    assert [outcome for outcome in outcomes if outcome.kind not in RIGHT] == []
    assert {outcome.kind for outcome in outcomes} == set(RIGHT)
