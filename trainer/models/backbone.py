"""What every backbone has: a functional Keras model from token ids to hidden states, without a head."""

from __future__ import annotations

from typing import Any

import keras

from trainer.models.preset_model import PresetModel


class Backbone(PresetModel):
    """Base class of encoders; ``Backbone.from_preset`` infers the class from the preset."""

    def __init__(self, *args: Any, dtype: Any = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if dtype is not None:
            self.dtype_policy = keras.dtype_policies.get(dtype)
