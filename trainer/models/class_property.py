"""A read-only property of a class: ``BertBackbone.presets``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class ClassProperty:
    """Decorator: the function gets the class and is called at each access."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.function = function
        self.__doc__ = function.__doc__

    def __get__(self, instance: Any, owner: Any) -> Any:
        return self.function(owner)
