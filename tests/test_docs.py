"""What the documentation shows exists: commands parse, and flags, files and modules are there."""

from __future__ import annotations

import contextlib
import io
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parent.parent
_HELP = _ROOT / "tests" / "golden" / "help"
_STAGES = {path.stem for path in _HELP.glob("*.txt")}
_PAGES = sorted([*_ROOT.glob("*.md"), *(_ROOT / "docs").glob("*.md")])
_TRACKED = subprocess.run(
    ["git", "ls-files"], cwd=_ROOT, capture_output=True, text=True, check=True
).stdout.split()
_SOURCES = [n for n in _TRACKED if n.endswith((".py", ".sh", ".yaml")) and "/golden/" not in n]
# Flags of others that the documentation shows.
# Beam's, and the first words of --flink-master and --spark-master-url, which its job servers take.
_BEAM_FLAGS = set(
    "runner project region temp_location setup_file parallelism num_workers max_num_workers "
    "job_endpoint environment_type environment_options environment_cache_millis "
    "number_of_execution_retries prism_location sdk_container_image flink spark".split()
)

_MODULE = re.compile(r"\b(?:pipelines|trainer|launch|tests)(?:\.[A-Za-z_][A-Za-z0-9_]*)+")
_FILE = re.compile(
    r"(?<![\w/$}])(?:pipelines|trainer|launch|tests|docs|configs)/[\w/.-]*\.(?:py|sh|md|yaml|png|json)\b"
)
_FLAG = re.compile(r"(?<![\w-])--(?!xla_)([a-z][a-z0-9_]*)")


def _flags_of(stage: str) -> set[str]:
    return set(_FLAG.findall((_HELP / f"{stage}.txt").read_text("utf-8")))


# Benchmarks, workflows and scripts have options of their own.
_OWN = ("tests/benchmarks/", "tests/conformance/", "tests/fuzz/", "tests/workflows/", "launch/")
_SCRIPTS = [n for n in _TRACKED if n.startswith(_OWN)]
_ALL_FLAGS = {
    flag
    for text in [
        *(path.read_text("utf-8") for path in _HELP.glob("*.txt")),
        *((_ROOT / name).read_text("utf-8") for name in _SCRIPTS),
    ]
    for flag in _FLAG.findall(text)
} | _BEAM_FLAGS


def shown_commands(page: str) -> list[str]:
    """The commands in the fenced blocks of a page, each on one line, without comments."""
    blocks = re.findall(r"^```(?:bash|sh)?\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [line for line in lines if re.match(r"(\S+=\S+ )*(python -m|bash) ", line)]


_COMMANDS = [
    (page.name, command)
    for page in _PAGES
    for command in shown_commands(page.read_text("utf-8"))
    if command.startswith("python -m") and command.split()[2] in _STAGES
]


def test_continued_lines_are_one_command() -> None:
    page = "```bash\npython -m pipelines.vocab --input a \\\n    --output b  # why\n```\n"
    (command,) = shown_commands(page)
    assert shlex.split(command, comments=True)[2:] == "pipelines.vocab --input a --output b".split()


@pytest.mark.parametrize(("page", "command"), _COMMANDS)
def test_shown_commands_parse(page: str, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command itself, asked for its config instead of its work."""
    _, _, module, *arguments = shlex.split(command, comments=True)
    if "…" in arguments:  # what is left out may be required: only the flags can be checked
        unknown = {a[2:] for a in arguments if a.startswith("--")} - _flags_of(module) - _BEAM_FLAGS
        assert not unknown, f"{page}: {command}"
        return
    # Without this, training would begin this process anew.
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.hugetlb=0")
    monkeypatch.setattr(sys, "argv", [module, *arguments, "--print_config"])
    monkeypatch.chdir(_ROOT)
    with contextlib.redirect_stdout(io.StringIO()), pytest.raises(SystemExit) as end:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        raise SystemExit(0)
    assert not end.value.code, f"{page}: {command}"


@pytest.mark.parametrize(
    "page", [p for p in _PAGES if p.name != "CHANGELOG.md"], ids=lambda page: page.name
)
def test_flags_in_the_documentation_exist(page: Path) -> None:
    text = page.read_text("utf-8")
    unknown = set(_FLAG.findall(text)) - _ALL_FLAGS
    assert not unknown, f"{page.name} shows flags that no command has: {sorted(unknown)}"


@pytest.mark.parametrize("name", [*(str(p.relative_to(_ROOT)) for p in _PAGES), *_SOURCES])
def test_files_and_modules_that_are_named_exist(name: str) -> None:
    text = (_ROOT / name).read_text("utf-8")
    if name == "CHANGELOG.md":
        return  # It tells of what was, too.
    missing = {file for file in _FILE.findall(text) if not (_ROOT / file).exists()}
    missing |= {dotted for dotted in _MODULE.findall(text) if not _is_there(dotted)}
    assert not missing, f"{name} names what does not exist: {sorted(missing)}"


@pytest.mark.parametrize("stage", sorted(s for s in _STAGES if not s.startswith("launch.")))
def test_every_stage_is_documented(stage: str) -> None:
    assert any(f"python -m {stage}" in page.read_text("utf-8") for page in _PAGES), stage


def test_the_readme_is_short() -> None:
    assert len((_ROOT / "README.md").read_text("utf-8").splitlines()) <= 120


def _is_there(dotted: str) -> bool:
    """Whether a dotted name is a module, or begins with one and goes on with a name in it."""
    names = [name for name in dotted.split(".") if name != "NAME"]  # that stands for any
    for count in range(len(names), 1, -1):
        path = _ROOT.joinpath(*names[:count])
        if path.is_dir() or (path.with_suffix(".py")).is_file():
            if count == len(names):
                return True
            source = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
            return re.search(rf"\b{names[count]}\b", source.read_text("utf-8")) is not None
    return (
        len(names) == 2
        and re.search(rf"\b{names[1]}\b", (_ROOT / names[0] / "__init__.py").read_text("utf-8"))
        is not None
    )
