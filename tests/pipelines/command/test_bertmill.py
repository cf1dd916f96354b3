"""The command ``bertmill``: the stages as ``python -m`` runs them, what is installed, and shadows."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.command.bertmill import main
from pipelines.command.doctor import PARTS, find_shadows
from pipelines.command.run import RunOptions
from pipelines.command.stages import STAGES
from tests.command_process import run_command_process
from tests.golden.stages import COMMANDS

_ROOT = Path(__file__).resolve().parents[3]
_HELP = _ROOT / "tests" / "golden" / "help"


def test_every_command_is_a_stage():
    modules = [module for module, _ in STAGES.values()]
    assert sorted(modules) == sorted(name for name in COMMANDS if not name.startswith("launch."))
    assert all(module.endswith(f".{name}") for name, (module, _) in STAGES.items())


@pytest.mark.parametrize("module", ["pipelines", "trainer"])
def test_the_stages_are_listed_in_the_roads_order(module):
    listed, _ = run_command_process(module)
    names = re.findall(r"^  (\w+) +\w", listed, re.MULTILINE)
    assert names == [*STAGES, "doctor"]
    assert run_command_process(module, "--help")[0] == listed


@pytest.mark.parametrize("stage", ["vocab", "inspect", "finetune"])
def test_a_stage_is_that_of_python_m(stage):
    arguments, environment = [stage, "--help"], {"COLUMNS": "100"}
    shown, _ = run_command_process("pipelines", *arguments, environment=environment)
    assert shown == (_HELP / f"{STAGES[stage][0]}.txt").read_text("utf-8")


def test_an_unknown_stage_is_one_line(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["tokenise", "--help"])
    assert capsys.readouterr().err == (
        "bertmill: unknown stage tokenise; did you mean tokenize?; see bertmill --help\n"
    )


def test_nothing_heavy_is_imported_before_the_stage_is_known():
    heavy = ("apache_beam", "numpy", "jax", "keras", "tensorflow")
    program = (
        "import sys; from pipelines.command.bertmill import main; main([]);"
        f"assert not [name for name in {heavy} if name in sys.modules]"
    )
    subprocess.run(
        [sys.executable, "-c", program], cwd=_ROOT, check=True, stdout=subprocess.DEVNULL
    )


def test_the_doctor_names_versions_and_devices(capsys):
    main(["doctor"])
    shown = capsys.readouterr().out
    for name in ("apache-beam", "numpy"):
        assert f"{name} {importlib.metadata.version(name)}" in " ".join(shown.split())
    assert re.search(r"^devices: (cpu|gpu|tpu|JAX does not answer)", shown, re.MULTILINE)


def test_the_doctor_knows_what_each_extra_needs():
    tomllib = pytest.importorskip("tomllib")
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    wanted = {"": project["dependencies"], **project["optional-dependencies"]}
    for extra, (_, names) in PARTS.items():
        needed = {re.match(r"[\w-]+", entry)[0] for entry in wanted[extra] if "[" not in entry}
        assert set(names.split()) == needed, extra


def test_packages_of_the_user_that_hide_ours_are_named(tmp_path):
    for name in ("pipelines", "trainer"):
        (tmp_path / name).mkdir()
    assert find_shadows(str(tmp_path)) == []  # Plain folders hide nothing.
    (tmp_path / "trainer" / "__init__.py").touch()
    assert find_shadows(str(tmp_path)) == [str(tmp_path / "trainer")]
    file = (tmp_path / "pipelines").with_suffix(".py")
    file.touch()
    found = [str(tmp_path / "trainer"), str(file)]
    assert find_shadows(str(tmp_path)) == found
    assert find_shadows(str(_ROOT)) == []


@pytest.fixture
def hidden(tmp_path) -> Path:
    """A folder in which ``python -m`` finds another package called pipelines."""
    (tmp_path / "pipelines").mkdir()
    (tmp_path / "pipelines" / "__init__.py").touch()
    return tmp_path


def start_in(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(_ROOT)},
        capture_output=True,
        text=True,
    )


def test_the_trainer_says_that_its_pipelines_are_hidden(hidden):
    done = start_in(hidden, "-m", "trainer.predict", "--help")
    assert done.returncode == 2
    assert done.stderr.startswith(
        f"trainer: {hidden / 'pipelines'} hides the package of the same name"
    )
    assert done.stderr.count("\n") == 1
    done = start_in(hidden, "-c", "import trainer")
    assert f"ImportError: {hidden / 'pipelines'} hides" in done.stderr


def test_the_command_works_where_packages_are_hidden(hidden, vocab_dir):
    """As pip installs it: a script outside the working folder. It starts processes of its own."""
    (hidden / "bin").mkdir()
    script = hidden / "bin" / "bertmill"
    script.write_text("from pipelines.command.bertmill import main\nmain()\n")
    (hidden / "a.txt").write_text("kalo mitu\n" * 3)
    flags = f"tokenize --input a.txt --vocab {vocab_dir} --output rows --seq_length 16"
    done = start_in(hidden, script, *flags.split())
    assert done.returncode == 0, done.stderr
    assert (hidden / "rows" / "manifest.json").is_file()


@pytest.mark.parametrize(
    ("module", "function", "config"),
    [
        ("pipelines.vocab", "learn_vocabulary", "VocabConfig"),
        ("pipelines.tokenize", "tokenize", "TokenizeConfig"),
        ("pipelines.mask", "mask", "MaskStageConfig"),
        ("pipelines.inspect", "inspect", "InspectConfig"),
        ("trainer.pretrain", "pretrain", "PretrainConfig"),
        ("trainer.export", "export", "ExportConfig"),
        ("trainer.finetune", "finetune", "FinetuneConfig"),
        ("trainer.evaluate", "evaluate", "EvaluateConfig"),
        ("trainer.predict", "predict", "PredictConfig"),
        ("trainer.explain", "explain", "ExplainConfig"),
        ("trainer.report", "report", "ReportConfig"),
    ],
)
def test_a_stage_is_a_function_of_its_config(module, function, config):
    package = importlib.import_module(module)
    run = getattr(package, function)
    assert dataclasses.is_dataclass(getattr(package, config))
    assert inspect.getdoc(run)
    names = list(inspect.signature(run).parameters)
    assert names == ["config", "options"]
    assert inspect.signature(run).parameters["options"].default == RunOptions()
