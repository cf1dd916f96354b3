"""Names of a package that are imported only when they are asked for.

So ``import trainer`` costs nothing, and importing one module of a package (``trainer.models.sizes``)
does not pull in Keras or a backend with the rest.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any


def lazy_exports(
    package: str, modules: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Gives a package's ``__getattr__`` and ``__dir__``.

    Args:
        package: the package's ``__name__``.
        modules: for each exported name, the module that has it; a module ending in ``.name`` itself
            is exported as a module.
    """

    def get(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module = importlib.import_module(modules[name])
        return module if modules[name] == f"{package}.{name}" else getattr(module, name)

    return get, lambda: sorted(modules)
