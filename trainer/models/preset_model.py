"""What backbones and tasks share: presets, and layers that exist before the model does."""

from __future__ import annotations

from typing import Any

import keras

from trainer.layers.constructor_arguments import ConstructorArguments
from trainer.presets.builtin import BUILTIN_PRESETS


class PresetModel(ConstructorArguments, keras.Model):
    """A functional model whose configuration is its constructor's arguments, not its graph.

    ``presets`` are the built-in ones by name, each with its ``metadata`` and ``kaggle_handle``.
    """

    presets = BUILTIN_PRESETS
    _untracked: tuple[str, ...] = ()  # attributes that are no part of the network

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._initialized = True

    def __setattr__(self, name: str, value: Any) -> None:
        # Torch modules refuse attributes before their constructor ran; Keras tracks these layers
        # through the functional graph anyway.
        too_early = keras.config.backend() == "torch" and not hasattr(self, "_initialized")
        if too_early or name in self._untracked:
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    @classmethod
    def from_preset(cls, preset: str, load_weights: bool = True, **kwargs: Any) -> Any:
        """Loads a model from a built-in name, ``kaggle://``, ``hf://`` or a directory.

        The weights of a task's head are loaded too where the preset holds this very task and
        ``num_classes`` is not given; otherwise the head is fresh.

        Args:
            preset: the name, handle or directory.
            load_weights: False for fresh weights everywhere.
            kwargs: constructor arguments to override, such as ``dtype``, ``trainable`` or a task's
                ``num_classes`` and ``preprocessor``.

        Raises:
            UserError: unknown name, missing file, or weights that do not fit the configuration.
        """
        # The one circle of imports: presets build models, and models load and save presets. So
        # these two packages import each other's modules only when they are called.
        from trainer.presets.load import load_model

        return load_model(cls, preset, load_weights, **kwargs)

    def save_to_preset(self, preset_dir: str) -> None:
        """Writes the model, and a task's backbone and preprocessor, into ``preset_dir``."""
        from trainer.presets.save import save_model

        save_model(self, preset_dir)
