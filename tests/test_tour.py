"""The stages in a notebook: ``docs/tour.ipynb`` runs as it stands, and Beam runs in IPython."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

_ROOT = Path(__file__).resolve().parents[1]
_TOUR = _ROOT / "docs" / "tour.ipynb"
_IN_IPYTHON = """
from IPython.core.interactiveshell import InteractiveShell
InteractiveShell.instance()
from pathlib import Path
from pipelines.vocab import VocabConfig, learn_vocabulary
Path("a.txt").write_text("kalo mitu\\n" * 50)
learn_vocabulary(VocabConfig(input=("a.txt",), output="vocab", vocab_size=30))
"""


def test_a_pipeline_runs_in_ipython(tmp_path: Path) -> None:
    pytest.importorskip("IPython")
    done = subprocess.run(
        [sys.executable, "-c", _IN_IPYTHON],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(_ROOT), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "vocab" / "vocab.txt").is_file()


def test_the_tour_is_kept_without_outputs() -> None:
    nbformat = pytest.importorskip("nbformat")
    tour = nbformat.read(_TOUR, as_version=4)
    nbformat.validate(tour)
    code = [cell for cell in tour.cells if cell.cell_type == "code"]
    assert code
    assert not any(cell.outputs or cell.execution_count for cell in code)


@pytest.mark.long
def test_the_tour_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    monkeypatch.setenv("PYTHONPATH", str(_ROOT))
    tour = nbformat.read(_TOUR, as_version=4)
    place = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(tour, timeout=1200, resources=place).execute()
    *_, predicted, loaded = (cell for cell in tour.cells if cell.cell_type == "code")
    labels = [line.split()[0] for line in _shown(predicted).splitlines()]
    assert set(labels) <= {"debugging", "strings", "statements"}
    assert len(labels) == 2
    assert "array(" in loaded.outputs[-1].data["text/plain"]
    assert (tmp_path / "tour" / "classifier" / "manifest.json").is_file()


def _shown(cell: Any) -> str:
    """What a cell printed on standard output."""
    return "".join(o.text for o in cell.outputs if o.get("name") == "stdout")
