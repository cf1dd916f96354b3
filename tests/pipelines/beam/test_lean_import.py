"""A lean import of Beam: less is loaded, nothing is missing afterwards, other runners get it whole."""

from __future__ import annotations

import subprocess
import sys

import pytest

_PROGRAM = """
import sys
from pipelines.beam.lean_import import import_beam
import_beam({arguments})
print(*[name in sys.modules for name in ("apache_beam", "pandas", "pymongo", "apitools")])
import pandas
import google.cloud.storage
pandas.DataFrame({{"a": [1]}})
import apache_beam
with apache_beam.Pipeline() as pipeline:
    pipeline | apache_beam.Create([1, 2]) | apache_beam.combiners.Count.Globally()
"""


@pytest.mark.parametrize(
    ("arguments", "loaded"),
    [
        ([], "True False False False"),
        (["--runner=DirectRunner"], "True False False False"),
        (["--runner", "DirectRunner", "--direct_num_workers=2"], "True False False False"),
        (["--runner=DataflowRunner"], "True True True True"),
        (["--runner", "FlinkRunner"], "True True True True"),
    ],
)
def test_what_is_loaded(arguments, loaded):
    pytest.importorskip("pandas")
    pytest.importorskip("pymongo")
    pytest.importorskip("google.cloud.storage")
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM.format(arguments=arguments)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == loaded
    assert "bson" not in done.stderr
