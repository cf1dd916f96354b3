"""A classifier computed for the first token alone: the same outputs for less work.

Only the vector of [CLS] is classified. The last Transformer layer then needs one query, one attention
row and one feed-forward pass instead of as many as there are tokens: half of the work of a BERT-tiny,
an eighth of a BERT-medium. The weights are the classifier's own, not copies; gradients are the same.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


def build_first_token_model(classifier: Any) -> keras.Model:
    """A model with the classifier's inputs, layers and logits, to train and to predict with.

    ``classifier`` is a ``BertTextClassifier``; whatever is trained here is trained there. Dropout
    draws as many numbers as it drops, so with dropout the two differ in what is dropped.
    """
    backbone = classifier.backbone
    inputs = {
        name: keras.Input(shape=(None,), dtype="int32", name=name)
        for name in ("token_ids", "segment_ids", "padding_mask")
    }
    tokens = backbone.token_embedding(inputs["token_ids"])
    positions = backbone.position_embedding(tokens)
    segments = backbone.segment_embedding(inputs["segment_ids"])
    x = backbone.embeddings_add((tokens, positions, segments))
    x = backbone.embeddings_dropout(backbone.embeddings_layer_norm(x))
    for layer in backbone.transformer_layers[:-1]:
        x = layer(x, padding_mask=inputs["padding_mask"])
    x = _encode_first(backbone.transformer_layers[-1], x, inputs["padding_mask"])
    pooled = backbone.pooled_dense(x[:, 0, :])
    outputs = classifier.output_dense(classifier.output_dropout(pooled))
    return keras.Model(inputs, outputs, name="first_token_model")


def _encode_first(layer: Any, x: Any, padding_mask: Any) -> Any:
    """What ``layer`` makes of the first token: float[batch, sequence, hidden] -> [batch, 1, hidden]."""
    mask = ops.cast(ops.expand_dims(padding_mask, axis=1), "bool")
    first = x[:, :1, :]
    attended = layer._self_attention_layer(query=first, value=x, attention_mask=mask)
    first = layer._self_attention_layer_norm(layer._self_attention_dropout(attended) + first)
    hidden = layer._feedforward_output_dense(layer._feedforward_intermediate_dense(first))
    return layer._feedforward_layer_norm(layer._feedforward_dropout(hidden) + first)
