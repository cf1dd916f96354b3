"""A folder belongs to one run: what differs is told, and what is damaged too."""

from __future__ import annotations

import json

import pytest

from pipelines.errors import UserError
from trainer.run_folder import IDENTITY, METRICS, claim_folder, describe_changes, read_identity

_RUN = {"deciding": {"seed": 0, "data": [1]}, "config": {"seed": 0, "log_every": 5}}


def test_changes_are_described():
    old = {"seed": 0, "model": {"num_layers": 2, "dropout": 0.1}, "data": [1], "same": 1}
    new = {"seed": 1, "model": {"num_layers": 4, "dropout": 0.1}, "data": [2], "same": 1}
    assert describe_changes(old, new) == (
        "data was another, num_layers was 2, now 4, seed was 0, now 1"
    )
    assert describe_changes(old, old) == ""


def test_a_claimed_folder_takes_the_same_run_only(tmp_path):
    claim_folder(str(tmp_path), _RUN, overwrite=False)
    assert read_identity(str(tmp_path)) == _RUN
    watched = {**_RUN, "config": {"seed": 0, "log_every": 9}}
    claim_folder(str(tmp_path), watched, overwrite=False)
    assert read_identity(str(tmp_path)) == watched
    other = {**_RUN, "deciding": {"seed": 1, "data": [1]}}
    with pytest.raises(UserError, match=r"unfinished run of another kind \(seed was 0, now 1\)"):
        claim_folder(str(tmp_path), other, overwrite=False)
    assert read_identity(str(tmp_path)) == watched
    (tmp_path / METRICS).write_text("{}\n")
    claim_folder(str(tmp_path), other, overwrite=True)
    assert read_identity(str(tmp_path)) == other
    assert not (tmp_path / METRICS).exists()


def test_what_is_no_run_is_told(tmp_path):
    with pytest.raises(UserError, match=r"holds no pretraining run: no identity\.json; name"):
        read_identity(str(tmp_path))
    for content in ("{", json.dumps({"deciding": 1, "config": {}}), "[]", "[" * 100_000):
        (tmp_path / IDENTITY).write_text(content)
        with pytest.raises(UserError, match="is damaged.*; start the run over with --overwrite"):
            read_identity(str(tmp_path))
