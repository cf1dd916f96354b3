"""An embedding table that also projects back: ids -> vectors, and vectors -> logits over ids.

The tied weights are what BERT's masked-LM head uses.
"""

from __future__ import annotations

import keras


@keras.saving.register_keras_serializable(package="bertmill")
class ReversibleEmbedding(keras.layers.ReversibleEmbedding):
    """Keras' own layer (which KerasNLP's became), under the name that our saved models know."""
