"""What every backbone has: plain configuration, presets, and no execution of saved code.

A backbone is a functional Keras model from token ids to hidden states, without a task's head.
"""

from __future__ import annotations

from typing import Any

import keras

from trainer.presets.builtin import BUILTIN_PRESETS


class Backbone(keras.Model):
    """Base class of encoders; ``Backbone.from_preset`` infers the class from the preset.

    ``presets`` are the built-in ones by name, each with its ``metadata`` and ``kaggle_handle``.
    """

    presets = BUILTIN_PRESETS

    def __init__(self, *args: Any, dtype: Any = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._initialized = True
        if dtype is not None:
            self.dtype_policy = keras.dtype_policies.get(dtype)

    def __setattr__(self, name: str, value: Any) -> None:
        # Torch modules refuse attributes before their constructor ran; Keras tracks these layers
        # through the functional graph anyway.
        if keras.config.backend() == "torch" and not hasattr(self, "_initialized"):
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments as JSON-able values (not the functional graph)."""
        return {
            "name": self.name,
            "trainable": self.trainable,
            "dtype": keras.dtype_policies.serialize(self.dtype_policy),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Any:
        config = dict(config)
        if isinstance(config.get("dtype"), dict):
            config["dtype"] = keras.dtype_policies.get(config["dtype"])
        return cls(**config)

    @classmethod
    def from_preset(cls, preset: str, load_weights: bool = True, **kwargs: Any) -> Any:
        """Loads a backbone from a built-in name, ``kaggle://``, ``hf://`` or a directory.

        Args:
            preset: the name, handle or directory.
            load_weights: False for the architecture with fresh weights.
            kwargs: constructor arguments to override, such as ``dtype`` or ``trainable``.

        Raises:
            UserError: unknown name, missing file, or weights that do not fit the configuration.
        """
        # The one circle of imports: presets build models, and models load and save presets. So
        # these two packages import each other's modules only when they are called.
        from trainer.presets.load import load_backbone

        return load_backbone(cls, preset, load_weights, **kwargs)

    def save_to_preset(self, preset_dir: str) -> None:
        """Writes ``config.json``, ``metadata.json`` and ``model.weights.h5`` into ``preset_dir``."""
        from trainer.presets.save import save_backbone

        save_backbone(self, preset_dir)
