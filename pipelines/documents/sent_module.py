"""A module of the user's own that goes to workers as text: their working folder is another one."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.abc import InspectLoader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType


@dataclass(frozen=True)
class SentModule(InspectLoader, MetaPathFinder):
    """A module's name and its text."""

    name: str
    text: str

    def unpack(self) -> None:
        """Makes the module importable in this process, before others of its name; one that is imported
        already is the same."""
        if self.name not in sys.modules and self not in sys.meta_path:
            sys.meta_path.insert(0, self)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return importlib.util.spec_from_loader(self.name, self) if fullname == self.name else None

    def get_source(self, fullname: str) -> str:
        return self.text


def find_module(name: str) -> SentModule | None:
    """The imported module, if it is one file in the working folder: what is elsewhere is installed."""
    path = getattr(sys.modules.get(name), "__file__", None)
    if "." in name or not path or not os.path.samefile(os.path.dirname(path) or ".", os.getcwd()):
        return None
    return SentModule(name, Path(path).read_text(encoding="utf-8"))
