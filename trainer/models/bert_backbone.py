"""The BERT encoder (Devlin et al. 2018): token ids -> a vector for each token and one for the row.

Arguments, inputs, outputs, layers and weight names are KerasNLP's ``BertBackbone``. Beyond it, a
call may carry ``document_ids``: then several documents share a row, attention stays inside each
document and positions restart at each, so every document gets the vectors it would get alone.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from trainer.layers.check_ids import check_arrays
from trainer.layers.dropout import Dropout
from trainer.layers.gelu import gelu_approximate, gelu_exact
from trainer.layers.position_embedding import PositionEmbedding
from trainer.layers.rematerialize import call_rematerialized
from trainer.layers.reversible_embedding import ReversibleEmbedding
from trainer.layers.segment_embedding import Embedding as SegmentEmbedding
from trainer.layers.transformer_encoder import TransformerEncoder
from trainer.models.preset_model import PresetModel


def bert_kernel_initializer(stddev: float = 0.02) -> keras.initializers.Initializer:
    """BERT's initial weights: a normal distribution cut at two standard deviations."""
    return keras.initializers.TruncatedNormal(stddev=stddev)


class Backbone(PresetModel):
    """Base class of encoders; ``Backbone.from_preset`` infers the class from the preset."""

    def __init__(self, *args: Any, dtype: Any = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if dtype is not None:
            self.dtype_policy = keras.dtype_policies.get(dtype)


@keras.saving.register_keras_serializable(package="bertmill")
class BertBackbone(Backbone):
    """A BERT encoder with randomly initialised weights.

    Args:
        vocabulary_size: number of token ids.
        num_layers: number of Transformer blocks.
        num_heads: attention heads a block; must divide ``hidden_dim``.
        hidden_dim: width of the encoder and the pooler.
        intermediate_dim: width of the feed-forward networks.
        dropout: rate for embeddings, attention and feed-forward outputs.
        max_sequence_length: number of learned positions.
        num_segments: number of segment ids.
        dtype: a dtype name or policy for computation and weights ("mixed_bfloat16", …).
        exact_gelu: the error-function GELU of Hugging Face's default instead of Google's and
            KerasNLP's tanh approximation.
        attention_dropout: rate for attention probabilities, if not ``dropout``; 0 lets training use
            the fused kernels of TPUs and GPUs.
        layer_norm_epsilon: added to the variance in every normalisation. KerasHub knows only BERT's
            1e-12 and refuses a preset of another.

    Inputs, a dict of int[batch, sequence]: ``token_ids``, ``segment_ids``, ``padding_mask`` (nonzero
    = a token) and, for packed rows only, ``document_ids`` (1, 2, … for consecutive documents of the
    row, 0 = padding; it replaces the padding mask). Outputs, a dict: ``sequence_output``
    float[batch, sequence, hidden_dim] and ``pooled_output`` float[batch, hidden_dim], from the first
    token of the row.
    """

    cls_token_index = 0
    _left_out_where_unset = (*Backbone._left_out_where_unset, "layer_norm_epsilon")
    rematerializes = False  # True: ``encode_at`` saves memory, see trainer.layers.rematerialize

    def __init__(
        self,
        vocabulary_size: int,
        num_layers: int,
        num_heads: int,
        hidden_dim: int,
        intermediate_dim: int,
        dropout: float = 0.1,
        max_sequence_length: int = 512,
        num_segments: int = 2,
        dtype: Any = None,
        exact_gelu: bool = False,
        attention_dropout: float | None = None,
        layer_norm_epsilon: float = 1e-12,
        **kwargs: Any,
    ) -> None:
        self.token_embedding = ReversibleEmbedding(
            input_dim=vocabulary_size,
            output_dim=hidden_dim,
            embeddings_initializer=bert_kernel_initializer(),
            dtype=dtype,
            name="token_embedding",
        )
        self.position_embedding = PositionEmbedding(
            initializer=bert_kernel_initializer(),
            sequence_length=max_sequence_length,
            dtype=dtype,
            name="position_embedding",
        )
        self.segment_embedding = SegmentEmbedding(
            input_dim=num_segments,
            output_dim=hidden_dim,
            embeddings_initializer=bert_kernel_initializer(),
            dtype=dtype,
            name="segment_embedding",
        )
        self.embeddings_add = keras.layers.Add(dtype=dtype, name="embeddings_add")
        self.embeddings_layer_norm = keras.layers.LayerNormalization(
            axis=-1, epsilon=layer_norm_epsilon, dtype=dtype, name="embeddings_layer_norm"
        )
        self.embeddings_dropout = Dropout(dropout, dtype=dtype, name="embeddings_dropout")
        self.transformer_layers = [
            TransformerEncoder(
                num_heads=num_heads,
                intermediate_dim=intermediate_dim,
                activation=gelu_exact if exact_gelu else gelu_approximate,
                dropout=dropout,
                attention_dropout=attention_dropout,
                layer_norm_epsilon=layer_norm_epsilon,
                kernel_initializer=bert_kernel_initializer(),
                dtype=dtype,
                name=f"transformer_layer_{i}",
            )
            for i in range(num_layers)
        ]
        self.pooled_dense = keras.layers.Dense(
            hidden_dim,
            kernel_initializer=bert_kernel_initializer(),
            activation="tanh",
            dtype=dtype,
            name="pooled_dense",
        )
        inputs = {
            name: keras.Input(shape=(None,), dtype="int32", name=name)
            for name in ("token_ids", "segment_ids", "padding_mask")
        }
        super().__init__(inputs=inputs, outputs=self._encode(inputs), dtype=dtype, **kwargs)

        self.vocabulary_size = vocabulary_size
        self.num_layers = num_layers
        self.num_heads = num_heads
        self.hidden_dim = hidden_dim
        self.intermediate_dim = intermediate_dim
        self.dropout = dropout
        self.max_sequence_length = max_sequence_length
        self.num_segments = num_segments
        self.exact_gelu = exact_gelu
        self.attention_dropout = attention_dropout
        self.layer_norm_epsilon = layer_norm_epsilon

    @property
    def id_limits(self) -> dict[str, int]:
        """Below which number the ids of each input are."""
        return {"token_ids": self.vocabulary_size, "segment_ids": self.num_segments}

    def predict(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        """``keras.Model.predict``, which here refuses ids that the embeddings do not have."""
        check_arrays(x, self.id_limits)
        return super().predict(x, *args, **kwargs)

    def __call__(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        # The functional signature stays KerasNLP's three inputs; document_ids travels beside it.
        if isinstance(inputs, dict) and "document_ids" in inputs:
            inputs = dict(inputs)
            kwargs["document_ids"] = inputs.pop("document_ids")
        return super().__call__(inputs, *args, **kwargs)

    def call(
        self,
        inputs: Any,
        training: bool | None = None,
        mask: Any = None,
        document_ids: Any = None,
    ) -> dict[str, Any]:
        # stateless_call comes here without passing through __call__.
        if isinstance(inputs, dict) and "document_ids" in inputs:
            inputs = dict(inputs)
            document_ids = inputs.pop("document_ids")
        if document_ids is None:
            return super().call(inputs, training=training, mask=mask)
        return self._encode(inputs, document_ids=document_ids, training=training)

    def encode_at(
        self,
        inputs: dict[str, Any],
        positions: Any,
        training: bool | None = None,
        shift: Any = None,
    ) -> Any:
        """``sequence_output`` at ``positions`` int[batch, selected] only: [batch, selected, hidden].

        The values of a whole call, to rounding, without what the last layer computes for other
        positions: a sixth of a BERT-small's work and a third of a BERT-tiny's with a quarter of
        the positions selected. ``shift`` float[batch, sequence, hidden] is added to the embedded tokens.
        """
        x, masks = self._embed(inputs, inputs.get("document_ids"), training)
        if shift is not None:
            x = x + shift
        # TensorFlow's compiler makes attention from selected positions slower than from all.
        select_last = keras.backend.backend() != "tensorflow"
        for layer in self.transformer_layers:
            if select_last and layer is self.transformer_layers[-1]:
                masks["positions"] = positions
            if self.rematerializes:
                x = call_rematerialized(layer, x, training=training, **masks)
            else:
                x = layer(x, training=training, **masks)
        if select_last:
            return x
        return ops.take_along_axis(x, ops.expand_dims(positions, axis=-1), axis=1)

    def _encode(
        self, inputs: dict[str, Any], document_ids: Any = None, training: bool | None = None
    ) -> dict[str, Any]:
        x, masks = self._embed(inputs, document_ids, training)
        for layer in self.transformer_layers:
            x = layer(x, training=training, **masks)
        return {
            "sequence_output": x,
            "pooled_output": self.pooled_dense(x[:, self.cls_token_index, :]),
        }

    def _embed(
        self, inputs: dict[str, Any], document_ids: Any, training: bool | None
    ) -> tuple[Any, dict[str, Any]]:
        """What the first layer gets: float[batch, sequence, hidden], and the masks of all layers."""
        masks, positions = {"padding_mask": inputs["padding_mask"]}, None
        if document_ids is not None:
            masks = {"document_ids": document_ids}
            positions = _positions_within_documents(document_ids)
        tokens = self.token_embedding(inputs["token_ids"])
        places = self.position_embedding(tokens, positions=positions)
        segments = self.segment_embedding(inputs["segment_ids"])
        x = self.embeddings_layer_norm(self.embeddings_add((tokens, places, segments)))
        return self.embeddings_dropout(x, training=training), masks


def _positions_within_documents(document_ids: Any) -> Any:
    """int32[batch, sequence]: how many earlier positions belong to the same document."""
    same_document = ops.expand_dims(document_ids, 2) == ops.expand_dims(document_ids, 1)
    position = ops.arange(ops.shape(same_document)[-1])
    earlier = ops.expand_dims(position, 1) > ops.expand_dims(position, 0)
    return ops.sum(ops.cast(same_document & earlier, "int32"), axis=-1)
