"""An embedding table that also projects back: ids -> vectors, and vectors -> logits over ids.

The tied weights are what BERT's masked-LM head uses.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from trainer.layers.check_ids import check_ids


@keras.saving.register_keras_serializable(package="bertmill")
class ReversibleEmbedding(keras.layers.ReversibleEmbedding):
    """Keras' own layer (which KerasNLP's became), under the name that our saved models know.

    Vectors are looked up in float32 and then cast, so that the gradients of all places of a token are
    summed in float32. In 16 bits the sum of a frequent token loses most of its terms, and on GPUs it
    takes longer than the rest of a step: there is no atomic addition for them.
    """

    def add_weight(self, *args: Any, **kwargs: Any) -> Any:
        return super().add_weight(*args, **{"autocast": False, **kwargs})

    def call(self, inputs: Any, reverse: bool = False) -> Any:
        if not reverse:
            check_ids(inputs, self.input_dim, "token_ids")
            return super().call(inputs)
        dtype = self.reverse_dtype or self.compute_dtype
        table = ops.transpose(self.embeddings) if self.tie_weights else self.reverse_embeddings
        logits = ops.matmul(ops.cast(inputs, dtype), ops.cast(table, dtype))
        cap = self.logit_soft_cap
        return logits if cap is None else cap * ops.tanh(logits / cap)
