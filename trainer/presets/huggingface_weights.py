"""Which of our variables is which tensor of a Hugging Face BERT, and in what shape.

Dense kernels are [out, in] there and [in, out] here; attention kernels and biases keep heads apart
here. One table, ``tensors_of``, drives both reading and writing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Tensor:
    """One of our variables as a tensor of ``shape`` there, where a kernel is transposed."""

    variable: Any
    shape: tuple[int, ...]
    is_kernel: bool = False

    def read(self) -> NDArray[np.float32]:
        """The variable as Hugging Face stores it, C-contiguous float32."""
        value = np.asarray(keras.ops.convert_to_numpy(self.variable), np.float32)
        value = value.reshape(self.shape[::-1]).T if self.is_kernel else value.reshape(self.shape)
        return np.ascontiguousarray(value)

    def assign(self, tensor: NDArray[np.float32]) -> None:
        """Sets the variable from a tensor of ``shape``."""
        value = tensor.T if self.is_kernel else tensor
        self.variable.assign(np.ascontiguousarray(value).reshape(self.variable.shape))


def tensors_of(model: Any, next_sentence_head: Any = None) -> dict[str, Tensor]:
    """Hugging Face's names of the variables of a BertBackbone, BertMaskedLM or BertTextClassifier.

    Encoder names stand without the "bert." that they have in a task's file; tied variables stand
    once, as transformers saves them.
    """
    backbone = getattr(model, "backbone", model)
    positions = backbone.position_embedding.position_embeddings
    table = {
        "embeddings.word_embeddings.weight": _plain(backbone.token_embedding.embeddings),
        "embeddings.position_embeddings.weight": _plain(positions),
        "embeddings.token_type_embeddings.weight": _plain(backbone.segment_embedding.embeddings),
        **_norm("embeddings.LayerNorm", backbone.embeddings_layer_norm),
        **_dense("pooler.dense", backbone.pooled_dense),
    }
    for i, layer in enumerate(backbone.transformer_layers):
        attention = layer._self_attention_layer
        prefix = f"encoder.layer.{i}"
        for name in ("query", "key", "value"):
            table |= _dense(f"{prefix}.attention.self.{name}", getattr(attention, f"{name}_dense"))
        table |= {
            **_dense(f"{prefix}.attention.output.dense", attention.output_dense, input_axes=2),
            **_norm(f"{prefix}.attention.output.LayerNorm", layer._self_attention_layer_norm),
            **_dense(f"{prefix}.intermediate.dense", layer._feedforward_intermediate_dense),
            **_dense(f"{prefix}.output.dense", layer._feedforward_output_dense),
            **_norm(f"{prefix}.output.LayerNorm", layer._feedforward_layer_norm),
        }
    return table | head_tensors(model, next_sentence_head)


def head_tensors(model: Any, next_sentence_head: Any = None) -> dict[str, Tensor]:
    """The part of ``tensors_of`` that is a task's own; empty for a backbone."""
    table: dict[str, Tensor] = {}
    if hasattr(model, "masked_lm_head"):
        head = model.masked_lm_head
        table |= {
            **_dense("cls.predictions.transform.dense", head._intermediate_dense),
            **_norm("cls.predictions.transform.LayerNorm", head._intermediate_layer_norm),
            "cls.predictions.bias": _plain(head.output_bias),
        }
    if hasattr(model, "output_dense"):
        table |= _dense("classifier", model.output_dense)
    if next_sentence_head is not None:
        table |= _dense("cls.seq_relationship", next_sentence_head)
    return table


def _plain(variable: Any) -> Tensor:
    return Tensor(variable, tuple(variable.shape))


def _norm(prefix: str, layer: Any) -> dict[str, Tensor]:
    return {f"{prefix}.weight": _plain(layer.gamma), f"{prefix}.bias": _plain(layer.beta)}


def _dense(prefix: str, layer: Any, input_axes: int = 1) -> dict[str, Tensor]:
    """``input_axes``: how many leading axes of the kernel are inputs."""
    kernel = tuple(layer.kernel.shape)
    shape = (math.prod(kernel[input_axes:]), math.prod(kernel[:input_axes]))
    return {
        f"{prefix}.weight": Tensor(layer.kernel, shape, is_kernel=True),
        f"{prefix}.bias": Tensor(layer.bias, (math.prod(layer.bias.shape),)),
    }
