"""The tanh approximation of GELU that Google's BERT uses, registered so that models can be saved."""

from __future__ import annotations

from typing import Any

import keras


@keras.saving.register_keras_serializable(package="bertmill")
def gelu_approximate(x: Any) -> Any:
    """0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))), elementwise."""
    return keras.activations.gelu(x, approximate=True)
