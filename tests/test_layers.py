"""Who may import whom, and that pure cores stay pure."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parent.parent
_HEAVY = ("tensorflow", "tensorflow_text", "keras", "apache_beam", "jax", "torch")
# Glue, and what exists to import something heavy.
_BEAM_GLUE = {
    "pipelines.beam.lean_import",
    "pipelines.beam.options",
    "pipelines.beam.runner",
    "pipelines.beam.heartbeat",
    "pipelines.beam.tally",
    "pipelines.documents.read_documents",
    "pipelines.vocab.count_words",
    "pipelines.vocab.pipeline",
    "pipelines.tokenize.find_near_duplicates",
    "pipelines.tokenize.pipeline",
    "pipelines.tokenize.publish",
    "pipelines.tokenize.rebuild",
    "pipelines.tokenize.reshard",
    "pipelines.tokenize.transforms",
    "pipelines.mask.pipeline",
    "pipelines.mask.rebuild",
    "pipelines.beam.worker_step",
}


def modules(package: str) -> list[str]:
    names = []
    for path in sorted((_ROOT / package).rglob("*.py")):
        parts = path.relative_to(_ROOT).with_suffix("").parts
        names.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return names


def imports(module: str, top_level_only: bool = False) -> set[str]:
    """All modules that a module's source imports (inside functions too, unless told otherwise)."""
    path = _ROOT / (module.replace(".", "/") + ".py")
    path = path if path.exists() else _ROOT / module.replace(".", "/") / "__init__.py"
    tree = ast.parse(path.read_text("utf-8"))
    nodes = tree.body if top_level_only else ast.walk(tree)
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


@pytest.mark.parametrize("module", modules("pipelines"))
def test_pipelines_never_import_the_trainer_or_another_stage(module):
    stages = {"pipelines.vocab", "pipelines.tokenize", "pipelines.mask"}
    own = ".".join(module.split(".")[:2])
    for name in imports(module):
        assert name.split(".")[0] != "trainer", f"{module} imports {name}"
        is_peer = name.split(".")[0] in ("keras_hub", "transformers", "tokenizers", "torch")
        assert not is_peer or module == "pipelines.inspection.peer_tokenizers", (
            f"{module} imports {name}"
        )
        if own in stages:
            other = ".".join(name.split(".")[:2])
            assert other not in stages - {own}, f"{module} imports {name}"


@pytest.mark.parametrize("module", modules("trainer"))
def test_the_trainer_imports_no_peer_and_no_beam_glue(module):
    for name in imports(module):
        assert name.split(".")[0] not in ("keras_hub", "transformers", "tokenizers"), name
        assert name.split(".")[0] != "apache_beam"
        assert name not in _BEAM_GLUE
    for name in imports(module, top_level_only=True):
        assert name.split(".")[0] not in ("tensorflow", "tensorflow_text"), f"{module}: {name}"


def test_importing_a_command_or_a_pure_core_pulls_in_nothing_heavy():
    commands = [f"trainer.{path.stem}" for path in (_ROOT / "trainer").glob("*.py")]
    pure = [name for name in modules("pipelines") if name not in _BEAM_GLUE]
    pure += sorted({*commands} - {"trainer.__init__", "trainer.__main__"})
    code = (
        "import importlib, sys\n"
        f"for name in {pure!r}:\n"
        "    if not name.endswith('__main__'):\n"
        "        importlib.import_module(name)\n"
        f"    heavy = [m for m in {_HEAVY!r} if m in sys.modules]\n"
        "    assert not heavy, (name, heavy)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=_ROOT)


def test_every_module_says_what_it_is_for():
    for module in modules("pipelines") + modules("trainer"):
        path = _ROOT / (module.replace(".", "/") + ".py")
        path = path if path.exists() else _ROOT / module.replace(".", "/") / "__init__.py"
        assert ast.get_docstring(ast.parse(path.read_text("utf-8"))), module
