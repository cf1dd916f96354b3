"""Configurations read off constructors: each argument is kept as the attribute of its name.

So a class lists its arguments once, and its configuration cannot lack one.
"""

from __future__ import annotations

import inspect
from typing import Any

import keras


class ConstructorArguments:
    """Mixin, before a Keras class: ``get_config`` and ``from_config`` hold the arguments."""

    # KerasNLP has none of these: left out where unset, so that what it knows is all there is.
    _left_out_where_unset: tuple[str, ...] = ("attention_dropout", "exact_gelu", "head_options")

    def get_config(self) -> dict[str, Any]:
        """The arguments as JSON-able values."""
        config = super().get_config()  # type: ignore[misc]
        for cls in reversed(type(self).__mro__):
            if issubclass(cls, ConstructorArguments) and "__init__" in vars(cls):
                for name, parameter in inspect.signature(cls.__init__).parameters.items():
                    is_option = parameter.kind is parameter.POSITIONAL_OR_KEYWORD
                    if name in config or not is_option or not hasattr(self, name):
                        continue
                    value = getattr(self, name)
                    if name not in self._left_out_where_unset or value != parameter.default:
                        config[name] = _serialized(value)
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """The object of a configuration, with the objects nested in it."""
        return cls(**{name: _deserialized(value) for name, value in config.items()})


def _serialized(value: Any) -> Any:
    if isinstance(value, list | dict):
        return list(value) if isinstance(value, list) else dict(value)
    if isinstance(value, keras.layers.Layer | keras.initializers.Initializer):
        return keras.saving.serialize_keras_object(value)
    return keras.activations.serialize(value) if callable(value) else value


def _deserialized(value: Any) -> Any:
    is_object = isinstance(value, dict) and "class_name" in value
    return keras.saving.deserialize_keras_object(value) if is_object else value
