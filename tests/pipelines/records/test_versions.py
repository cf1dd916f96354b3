"""Workers whose libraries are others than the launcher's are refused, and a manifest names them."""

from __future__ import annotations

import json

import pytest
from apache_beam.internal import pickler

from pipelines.beam.worker_step import WorkerStep
from pipelines.errors import UserError
from pipelines.records import versions
from pipelines.records.versions import check_versions, deciding_versions


def test_a_finished_stage_names_them(rows_dir):
    manifest = json.loads((rows_dir / "manifest.json").read_text())
    assert manifest["versions"] == deciding_versions()
    assert {"array-record", "nanotoken", "unicode"} == manifest["versions"].keys()


def test_a_worker_with_other_versions_is_refused(monkeypatch):
    sent = pickler.dumps(WorkerStep())
    pickler.loads(sent).setup()
    monkeypatch.setattr(versions, "version", lambda name: "9.9")
    with pytest.raises(UserError, match="has array-record 9.9, this run was started with "):
        pickler.loads(sent).setup()


def test_outputs_of_before_there_were_versions_are_accepted():
    check_versions({})
