"""Mutated inputs of every kind: each is read, or refused in one line, and nothing is lost in silence.

``python -m tests.fuzz``, also with ``--outputs``, is the long form.
"""

from __future__ import annotations

import pytest

from tests.fuzz.outputs import output_target
from tests.fuzz.process import all_targets
from tests.fuzz.target import RIGHT, folder_files, try_input

_INPUTS_EACH = 4


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Where the rows and the run are that targets read."""
    return tmp_path_factory.mktemp("made")


@pytest.fixture(scope="module")
def targets(made):
    pytest.importorskip("keras")
    from trainer.pretraining.startup import without_tensorflow

    return without_tensorflow(all_targets)(made)


def test_every_input_is_read_or_refused(targets, tmp_path):
    outcomes = [
        try_input(1, number, [target], tmp_path / "tried")
        for target in targets
        for number in range(_INPUTS_EACH)
    ]
    assert [outcome for outcome in outcomes if outcome.kind not in RIGHT] == []
    assert {outcome.kind for outcome in outcomes} == {"read", "refused"}


@pytest.mark.parametrize("name", ["rows", "run"])
def test_no_damaged_file_of_an_output_passes_for_whole(targets, made, tmp_path, name):
    whole = folder_files(made / name)
    commands = ("pipelines.inspect --data {given}",)
    target = output_target(name, whole, commands, {})
    outcomes = [try_input(2, number, [target], tmp_path / "tried") for number in range(20)]
    assert [outcome for outcome in outcomes if outcome.kind not in RIGHT] == []
    assert {outcome.kind for outcome in outcomes} == {"read", "refused"}
