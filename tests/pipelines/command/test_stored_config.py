"""Configs from files hold what flags could have given."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from pipelines.command.stored_config import restore_config
from pipelines.errors import UserError
from pipelines.mask.config import MaskStageConfig
from pipelines.vocab.config import VocabConfig


@pytest.mark.parametrize(
    "config",
    [
        MaskStageConfig(input="a", output="b", copies=3, mask_selection_rate=1),
        VocabConfig(input=("a", "b"), output="c", strip_accents=False, word_counts="w"),
    ],
)
def test_what_was_stored_comes_back(config):
    stored = json.loads(json.dumps(asdict(config) | {"of_an_earlier_version": 1}))
    assert restore_config(type(config), stored, "x") == config


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("copies", value) for value in ("3", 1.0, True, None, 10**400)),
        *(("mask_selection_rate", value) for value in (float("nan"), "0.1", [1])),
        *(("strategy", value) for value in ("none", {}, 1)),
        *(("input", value) for value in (["a"], {}, 0)),
    ],
)
def test_values_of_another_kind_are_refused(name, value):
    stored = asdict(MaskStageConfig(input="a", output="b")) | {name: value}
    with pytest.raises(UserError, match=f"f.json is damaged: {name} is "):
        restore_config(MaskStageConfig, stored, "f.json")


def test_what_an_option_must_say_is_missed():
    with pytest.raises(UserError, match="f.json is damaged: it lacks"):
        restore_config(MaskStageConfig, {"input": "a"}, "f.json")
