"""The folder of a pretraining run is its own: what somebody put there, or it reads, is not replaced."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

keras = pytest.importorskip("keras")

from pipelines.command.run import RunOptions  # noqa: E402
from pipelines.errors import UserError  # noqa: E402
from trainer.pretrain import pretrain  # noqa: E402
from trainer.pretraining.config import PretrainConfig  # noqa: E402


@pytest.fixture
def config(finished_run, tmp_path) -> PretrainConfig:
    """Of the finished run, in another folder."""
    fields = json.loads((finished_run / "identity.json").read_text())["config"]
    fields |= {"data": tuple(fields["data"]), "output": str(tmp_path / "run")}
    return PretrainConfig(**fields)


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("name", ["identity.json", "model.weights.h5", "checkpoints/step.npz"])
def test_a_folder_of_somebody_is_refused(config, name, overwrite):
    path = Path(config.output, name)
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    with pytest.raises(UserError, match=f"--output: .*run holds {name.split('/')[0]}"):
        pretrain(config, RunOptions(overwrite=overwrite))
    assert contents(Path(config.output)) == {path: b"mine"}


def test_what_is_read_is_not_replaced(config, finished_run, make_rows, tmp_path):
    shutil.copytree(finished_run, config.output)
    shutil.copytree(make_rows(), tmp_path / "rows")
    (tmp_path / "link").symlink_to(tmp_path / "rows")
    skip = Path(config.output, "skip.txt")
    skip.write_text("train-00000-of-00003.array_record 0-3\n")
    before = contents(tmp_path)
    for flag, changed in (
        ("data", {"data": (str(tmp_path / "rows"),), "output": str(tmp_path / "link")}),
        ("data", {"data": (str(tmp_path / "link"),), "output": f"{tmp_path}/rows/."}),
        ("initial_run", {"initial_run": config.output}),
        ("skip_rows", {"skip_rows": str(skip)}),
    ):
        with pytest.raises(UserError, match=f"is or holds .*, which --{flag} reads"):
            pretrain(replace(config, **changed), RunOptions(overwrite=True))
    assert contents(tmp_path) == before


def test_a_run_of_an_older_version_goes_on_beside_what_somebody_put_there(config, finished_run):
    output = Path(config.output)
    shutil.copytree(finished_run, output)
    for name in ("manifest.json", "run.json"):  # which it did not write until it was finished
        (output / name).unlink()
    (output / "preset").mkdir()
    (output / "preset" / "config.json").write_text("{}")
    (output / "run.log").write_text("mine")
    keras.utils.clear_session()  # as in a process of its own
    pretrain(config, RunOptions())
    assert (output / "manifest.json").read_bytes() == (finished_run / "manifest.json").read_bytes()
    assert (output / "run.log").read_text() == "mine"
    (output / "run.log").unlink()
    pretrain(replace(config, steps=2), RunOptions(overwrite=True))
    assert (output / "preset" / "config.json").read_text() == "{}"
