"""Which of our variables is which tensor of a Hugging Face BERT, and in what shape.

Dense kernels are [out, in] there and [in, out] here; attention kernels keep heads apart here. The
table below is all there is to a conversion, in both directions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from pipelines.errors import UserError


@dataclass(frozen=True)
class Entry:
    """One variable. ``rows`` is the number of its leading axes that are inputs; None: same layout."""

    variable: Any
    rows: int | None = None

    def exported(self) -> NDArray[np.float32]:
        """The variable as Hugging Face stores it, C-contiguous float32."""
        value = np.asarray(keras.ops.convert_to_numpy(self.variable), np.float32)
        if self.rows is None:
            return np.ascontiguousarray(value.reshape(self._plain_shape()))
        return np.ascontiguousarray(value.reshape(self._plain_shape()[::-1]).T)

    def assign(self, tensor: NDArray[np.float32]) -> str | None:
        """Sets the variable from Hugging Face's tensor; says what is wrong where it does not fit."""
        if tensor.shape != self._plain_shape():
            return f"has shape {tensor.shape}, not {self._plain_shape()}"
        value = tensor if self.rows is None else tensor.T
        self.variable.assign(np.ascontiguousarray(value).reshape(self.variable.shape))
        return None

    def _plain_shape(self) -> tuple[int, ...]:
        """The tensor's shape at Hugging Face."""
        shape = tuple(self.variable.shape)
        if self.rows is None:
            # Biases of attention heads lie flat there.
            return (int(np.prod(shape)),) if len(shape) == 2 and self._is_bias() else shape
        inputs, outputs = np.prod(shape[: self.rows]), np.prod(shape[self.rows :])
        return int(outputs), int(inputs)

    def _is_bias(self) -> bool:
        return self.variable.name == "bias"


def backbone_names(backbone: Any) -> dict[str, Entry]:
    """Hugging Face's names, without "bert.", of a BertBackbone's variables."""
    names = {
        "embeddings.word_embeddings.weight": Entry(backbone.token_embedding.embeddings),
        "embeddings.position_embeddings.weight": Entry(
            backbone.position_embedding.position_embeddings
        ),
        "embeddings.token_type_embeddings.weight": Entry(backbone.segment_embedding.embeddings),
        **_norm("embeddings.LayerNorm", backbone.embeddings_layer_norm),
        **_dense("pooler.dense", backbone.pooled_dense),
    }
    for i, layer in enumerate(backbone.transformer_layers):
        attention = layer._self_attention_layer
        prefix = f"encoder.layer.{i}"
        names |= {
            **_dense(f"{prefix}.attention.self.query", attention.query_dense),
            **_dense(f"{prefix}.attention.self.key", attention.key_dense),
            **_dense(f"{prefix}.attention.self.value", attention.value_dense),
            **_dense(f"{prefix}.attention.output.dense", attention.output_dense, rows=2),
            **_norm(f"{prefix}.attention.output.LayerNorm", layer._self_attention_layer_norm),
            **_dense(f"{prefix}.intermediate.dense", layer._feedforward_intermediate_dense),
            **_dense(f"{prefix}.output.dense", layer._feedforward_output_dense),
            **_norm(f"{prefix}.output.LayerNorm", layer._feedforward_layer_norm),
        }
    return names


def head_names(model: Any, architecture: str) -> dict[str, Entry]:
    """Hugging Face's names of a task's own variables; tied ones once, as transformers saves them."""
    if architecture == "BertForSequenceClassification":
        return _dense("classifier", model.output_dense)
    if architecture != "BertForMaskedLM":
        return {}
    head = model.masked_lm_head
    return {
        **_dense("cls.predictions.transform.dense", head._intermediate_dense),
        **_norm("cls.predictions.transform.LayerNorm", head._intermediate_layer_norm),
        "cls.predictions.bias": Entry(head.output_bias),
    }


def next_sentence_names(layer: Any) -> dict[str, Entry]:
    """Hugging Face's names of a next-sentence head's variables."""
    return _dense("cls.seq_relationship", layer)


def read_weights(path: str) -> dict[str, NDArray]:
    """The tensors of a safetensors file; old names of layer normalisations become today's."""
    from safetensors import SafetensorError, safe_open

    tensors: dict[str, NDArray] = {}
    try:
        with safe_open(path, framework="numpy") as file:
            for name in file.keys():  # noqa: SIM118 (not a dict)
                current = name.replace("LayerNorm.gamma", "LayerNorm.weight")
                tensors[current.replace("LayerNorm.beta", "LayerNorm.bias")] = file.get_tensor(name)
    except (SafetensorError, OSError, TypeError) as error:
        raise UserError(f"{path}: not readable as safetensors ({error})") from None
    return tensors


def _dense(prefix: str, layer: Any, rows: int = 1) -> dict[str, Entry]:
    return {f"{prefix}.weight": Entry(layer.kernel, rows), f"{prefix}.bias": Entry(layer.bias)}


def _norm(prefix: str, layer: Any) -> dict[str, Entry]:
    return {f"{prefix}.weight": Entry(layer.gamma), f"{prefix}.bias": Entry(layer.beta)}
