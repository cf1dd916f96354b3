"""Uploads go through the hubs' own libraries to stand-ins on this machine, and come back equal."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from pipelines.command.run import RunOptions
from pipelines.errors import UserError
from pipelines.records.checksums import check_folder
from tests.command_process import CommandProcess, flags_of
from tests.trainer.presets.hub_servers import TOKEN, serve_hugging_face, serve_kaggle
from trainer.export import ExportConfig, export
from trainer.presets.upload import Destination

pytest.importorskip("huggingface_hub")
pytest.importorskip("kagglehub")

_NAME = "somebody/a-model"


@pytest.fixture(scope="module")
def exported(finished_run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported")
    config = ExportConfig(
        run=str(finished_run), output=str(folder / "preset"), hf_output=str(folder / "huggingface")
    )
    export(config, RunOptions())
    return {"run": config.run, "output": config.output, "hf_output": config.hf_output}


def run(module, *arguments, **environment):
    """(exit status, standard output, standard error) of a command that has the token."""
    given = {"HF_TOKEN": TOKEN, "KAGGLE_API_TOKEN": TOKEN, "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    with CommandProcess(module, *arguments, environment=given | environment) as command:
        output, errors = command.communicate(60)
    assert TOKEN not in output + errors or "Authorization" in output  # which Kaggle's TEST prints
    return command.returncode, output, errors


def upload(exported, address, *flags, **environment):
    arguments = {name: exported[name] for name in ("run", *flags)}
    return run("trainer.export", *flags_of(**arguments, upload=address), **environment)


def check_uploaded(hub, folder, place):
    """What is there is the export but for run.json, and its card names its place."""
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert hub.files.keys() == names - {"run.json"}
    for name, content in hub.files.items():
        assert TOKEN.encode() not in content
        assert str(folder.parent).encode() not in content
        if name not in ("README.md", "SHA256SUMS"):
            assert content == (folder / name).read_bytes()
    assert f"\nplace = {place}\n" in hub.files["README.md"].decode()
    assert "path/to" not in hub.files["README.md"].decode()
    assert hub.private is True


@pytest.mark.parametrize(
    ("flags", "is_small"), [(("output", "hf_output"), False), (("output",), True)]
)
def test_hugging_face(exported, flags, is_small, tmp_path):
    with serve_hugging_face() as hub:
        # Large files of the real hub go to a store of their own, whose protocol the library speaks by
        # itself; without it to addresses that the hub signs.
        hub.takes_all = is_small
        environment = {"HF_ENDPOINT": hub.address, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "0"}
        environment |= {} if is_small else {"HF_HUB_DISABLE_XET": "1"}
        status, _, errors = upload(exported, f"hf://{_NAME}", *flags, **environment)
        assert status == 0, errors
        assert f"uploaded to {hub.address}/{_NAME}; if it is new there, it is private" in errors
        folder = Path(exported[flags[-1]])
        check_uploaded(hub, folder, f'"hf://{_NAME}"' if is_small else f'"{_NAME}"')
        assert bool(hub.blobs) != is_small
        if is_small:  # again, as a second version
            status, _, errors = upload(exported, f"hf://{_NAME}", *flags, **environment)
            assert status == 0, errors
        module = "tests.trainer.presets.load_from_hub"
        status, output, errors = run(module, f"hf://{_NAME}", str(folder), **environment)
        assert (status, output) == (0, "0.0\n"), errors
        # What is downloaded as a folder is as its checksums say.
        for name, content in hub.files.items():
            (tmp_path / "folder" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "folder" / name).write_bytes(content)
        check_folder(str(tmp_path / "folder"))


def test_kaggle(exported, tmp_path):
    with serve_kaggle() as hub:
        if hub is None:
            pytest.skip("port 7777, where kagglehub looks for a test server, is taken")
        environment = {"KAGGLE_API_ENVIRONMENT": "TEST", "KAGGLEHUB_CACHE": str(tmp_path)}
        address = "kaggle://somebody/a-model/keras/tiny"
        status, _, errors = upload(exported, address, "output", **environment)
        assert status == 0, errors
        assert "uploaded to http://localhost:7777/models/somebody/a-model/keras/tiny" in errors
        check_uploaded(hub, Path(exported["output"]), f'"{address}"')


def test_what_a_hub_refuses_is_one_line(exported, tmp_path):
    with serve_hugging_face() as hub:
        environment = {"HF_ENDPOINT": hub.address, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "0"}
        hub.refuses = 403
        status, _, errors = upload(exported, f"hf://{_NAME}", "output", **environment)
        assert status == 2
        last = errors.splitlines()[-1]
        assert last.startswith(
            f"trainer.export: --upload hf://{_NAME}: the token in the environment may not"
        )
        assert "(HTTP 403)" in last
        hub.refuses, hub.calls = 0, []
        damaged = shutil.copytree(exported["output"], tmp_path / "damaged")
        (damaged / "config.json").write_text("{}")
        other = {**exported, "output": str(damaged)}
        status, _, errors = upload(other, f"hf://{_NAME}", "output", **environment)
        assert status == 2
        assert "config.json is not the file of" in errors.splitlines()[-1]
        assert hub.calls == []
    status, _, errors = upload(exported, f"hf://{_NAME}", "output", **environment)
    assert status == 2
    assert "the hub cannot be reached (" in errors.splitlines()[-1]


def test_what_is_missing_is_said_before_anything_is_done(exported, monkeypatch):
    folders = {"output": "o", "hf_output": "h"}
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("KAGGLE_API_TOKEN", TOKEN)

    def refuse(address, match, folders=folders):
        with pytest.raises(UserError, match=match):
            Destination.parse(address, folders)

    for address in (
        *(
            "hf://name",
            "hf://a/b/c",
            "hf://a/",
            "hf:/a/b",
            "a/b",
            "hf://-a/b",
            "kaggle://a/b/keras",
        ),
        *("kaggle://a/b/keras/v/1", "kaggle://a/b/onnx/v", "hf://a/b c", "hf://a/b\n"),
    ):
        refuse(
            address, "--upload .*: not hf://owner/name or kaggle://owner/model/framework/variation"
        )
    refuse("kaggle://a/b/transformers/v", "takes the files of --hf_output", {"output": "o"})
    assert Destination.parse("kaggle://a/b/pyTorch/v", folders).flag == "hf_output"
    assert Destination.parse("kaggle://a/b/keras/v", folders).flag == "output"
    monkeypatch.delenv("HF_TOKEN")
    refuse("hf://a/b", "there is no token; set HF_TOKEN in the environment")
    monkeypatch.delenv("KAGGLE_API_TOKEN")
    monkeypatch.setenv("KAGGLE_USERNAME", "somebody")
    refuse("kaggle://a/b/keras/v", "set KAGGLE_API_TOKEN or KAGGLE_USERNAME and KAGGLE_KEY")
    for library in ("huggingface_hub", "kagglehub"):
        monkeypatch.setitem(sys.modules, library, None)
    refuse("hf://a/b", r"needs the package huggingface_hub: pip install 'bertmill\[hub\]'")
    refuse("kaggle://a/b/keras/v", "needs the package kagglehub: pip install")
