"""The GELUs that Keras has no name for, registered so that models can be saved."""

from __future__ import annotations

from typing import Any

import keras

# A power of two, so that folding it into weights rounds nothing; small enough for float16.
SHARPNESS = 256.0


@keras.saving.register_keras_serializable(package="bertmill")
def gelu_approximate(x: Any) -> Any:
    """0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))), elementwise: Google's BERT."""
    return keras.activations.gelu(x, approximate=True)


@keras.saving.register_keras_serializable(package="bertmill")
def gelu_sharp(x: Any) -> Any:
    """gelu(256 x), elementwise: nearly 256 relu(x), whichever GELU it is.

    The exact GELU and its tanh approximation differ by up to 4.7e-4. Before a normalisation, which
    forgets the factor 256, that becomes 1.8e-6, and an epsilon of 1e-5 becomes 1.5e-10.
    """
    return keras.activations.gelu(SHARPNESS * x, approximate=False)
