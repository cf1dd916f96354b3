"""Python files and the prose in their docstrings: found, parsed with ``ast``, cleaned.

Nothing is imported or run. Which files are read depends on their names and sizes alone.
"""

from __future__ import annotations

import ast
import gc
import os
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.documents.blocks import content_id
from pipelines.keyed_random import fold, purpose_key

STANDARD_LIBRARY = "python"
"""The label of the standard library's docstrings."""

# Tests are code more than prose; vendored folders hold texts of others under a false label.
_TEST_FOLDERS = ("test", "tests", "idle_test", "testing", "testdata")
_VENDORED_FOLDERS = ("_vendor", "vendor", "_vendored", "vendored", "third_party", "extern")
_SKIPPED_FOLDERS = {"site-packages", "dist-packages", *_TEST_FOLDERS, *_VENDORED_FOLDERS}
_MINIMUM_WORDS = 12
_DEFINITIONS = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
_PROSE_WORD = re.compile(r"(?<![^\s(\"'`])[A-Za-z][a-z]+(?![^\s.,;:!?)\"'`])")


@dataclass(frozen=True)
class SourceFile:
    """A Python file: path, package (the label), dotted module name and size in bytes."""

    path: str
    label: str
    module: str
    size: int


@dataclass(frozen=True)
class Docstring:
    """One docstring: its cleaned text, its package and where it stands (``module.qualname``)."""

    text: str
    label: str
    source: str


def find_sources(folders: Iterable[str]) -> list[SourceFile]:
    """Finds the Python files of all packages in the folders, sorted by module; no module twice.

    A folder that contains ``ast.py`` is a standard library: all of it is one package.
    """
    found: dict[str, SourceFile] = {}
    for root in folders:
        standard = os.path.isfile(os.path.join(root, "ast.py"))
        for folder, subfolders, names in os.walk(root):
            subfolders[:] = [
                name for name in subfolders if name.isidentifier() and name not in _SKIPPED_FOLDERS
            ]
            for name in names:
                if not name.endswith(".py") or name.startswith("test_"):
                    continue
                path = os.path.join(folder, name)
                parts = Path(path).relative_to(root).with_suffix("").parts
                parts = parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts
                module, label = ".".join(parts), STANDARD_LIBRARY if standard else parts[0]
                found.setdefault(module, SourceFile(path, label, module, os.path.getsize(path)))
    return [found[module] for module in sorted(found)]


def limit_sources(sources: Sequence[SourceFile], limit: int, seed: int) -> list[SourceFile]:
    """Keeps at most ``limit`` bytes of each package: files in an order drawn by their modules."""
    key = purpose_key(seed, "docstring sources")
    order = sorted(sources, key=lambda source: int(fold(key, content_id(source.module.encode()))))
    total: Counter[str] = Counter()
    kept = []
    for source in order:
        if total[source.label] + source.size <= limit:
            total[source.label] += source.size
            kept.append(source)
    return sorted(kept, key=lambda source: source.module)


def read_docstrings(source: SourceFile) -> tuple[int, list[Docstring]] | None:
    """How many docstrings a file with its classes and functions has; those that are prose, cleaned.

    None if the file cannot be read as Python.
    """
    gc.disable()  # A third of the time: trees are many objects and no garbage.
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(Path(source.path).read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    finally:
        gc.enable()
    count, docstrings = 0, []
    pending: list[tuple[ast.AST, str]] = [(tree, source.module)]
    while pending:
        node, name = pending.pop()
        if isinstance(node, (ast.Module, *_DEFINITIONS)):
            raw = ast.get_docstring(node)
            if raw:
                count += 1
                if is_prose(text := clean_docstring(raw)):
                    docstrings.append(Docstring(text, source.label, name))
        for child in getattr(node, "body", ()):
            if isinstance(child, _DEFINITIONS):
                pending.append((child, f"{name}.{child.name}"))
            elif isinstance(child, (ast.If, ast.Try)):
                pending.append((child, name))
    return count, docstrings


def clean_docstring(text: str) -> str:
    """Leaves the prose of a docstring: one line a paragraph, no code and no ornaments.

    Dropped are doctests with their output, fenced code, rulers (``-----``) and reST directives:

    >>> clean_docstring("Adds two\\nnumbers.\\n\\n>>> add(1, 2)\\n3\\n\\nReturns\\n-------\\nint")
    'Adds two numbers.\\nReturns int'
    """
    paragraphs: list[list[str]] = [[]]
    fenced = in_example = False
    for line in text.encode("utf-8", "ignore").decode().split("\n"):
        line = line.strip()
        if line.startswith(("```", "~~~")):
            fenced = not fenced
            continue
        if not line:
            in_example = False
            paragraphs.append([])
        in_example = in_example or line.startswith(">>>")
        if fenced or in_example or not any(map(str.isalnum, line)):
            continue
        if not (line.startswith(".. ") and line.endswith("::")):
            paragraphs[-1].append(" ".join(line.split()))
    return "\n".join(" ".join(lines) for lines in paragraphs if lines)


def is_prose(text: str) -> bool:
    """Whether a text has at least twelve plain words, and at least half of it is plain words."""
    words = _PROSE_WORD.findall(text)
    return len(words) >= _MINIMUM_WORDS and 2 * sum(map(len, words)) >= len("".join(text.split()))
