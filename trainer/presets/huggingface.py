"""BERT to and from Hugging Face's layout: ``config.json``, ``model.safetensors``, ``vocab.txt``, ….

Neither torch nor transformers is needed. There encoder and masked-LM head share one activation and
one epsilon; KerasNLP's head has its own (exact GELU and 1e-5, where the encoder has tanh GELU and
1e-12), which no such config can express. So the logits of an exported plain KerasNLP head differ by
about 1e-3. Encoders, classifiers, imported heads, and heads trained with
``PretrainingModel(portable_head=True)`` agree to rounding.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import UserError
from trainer.models.bert_backbone import BertBackbone
from trainer.models.bert_masked_lm import BertMaskedLM
from trainer.models.bert_text_classifier import BertTextClassifier
from trainer.presets.huggingface_config import describe_model, read_config
from trainer.presets.huggingface_files import as_float32, read_tensors
from trainer.presets.huggingface_tokenizer import save_tokenizer_files
from trainer.presets.huggingface_weights import Tensor, head_tensors, tensors_of
from trainer.presets.json_files import write_json

_ARCHITECTURES: dict[Any, str] = {
    BertBackbone: "BertModel",
    BertMaskedLM: "BertForMaskedLM",
    BertTextClassifier: "BertForSequenceClassification",
}
_HEADS = ("cls.", "classifier.")
_POOLER, _MASKED_LM = "pooler.", "cls.predictions."
_DECODER = "cls.predictions.decoder.weight"
_EMBEDDING = "embeddings.word_embeddings.weight"
# One bias, which is stored under either name or under both.
_BIAS, _DECODER_BIAS = "cls.predictions.bias", "cls.predictions.decoder.bias"


def save_huggingface(
    model: Any,
    tokenizer: Any,
    directory: str,
    next_sentence_head: Any = None,
    labels: Sequence[str] = (),
) -> None:
    """Writes a backbone or task, and its tokenizer, as Hugging Face does.

    Args:
        model: a BertBackbone, BertMaskedLM or BertTextClassifier.
        tokenizer: its BertTokenizer, or None to write none.
        directory: created if missing; files in it are replaced.
        next_sentence_head: a Dense layer of two outputs over the pooled output; with it a
            BertMaskedLM is a ``BertForPreTraining``.
        labels: the names of a classifier's classes; none: LABEL_0, ….
    """
    from safetensors.numpy import save_file

    architecture = _ARCHITECTURES.get(type(model))
    if architecture is None:
        raise UserError(f"a {type(model).__name__} has no counterpart at Hugging Face")
    if next_sentence_head is not None:
        architecture = "BertForPreTraining"
    table = tensors_of(model, next_sentence_head)
    prefix = "" if architecture == "BertModel" else "bert."
    tensors = {
        name if name.startswith(_HEADS) else prefix + name: tensor.read()
        for name, tensor in table.items()
    }
    os.makedirs(directory, exist_ok=True)
    weights = os.path.join(directory, "model.safetensors")
    save_file(tensors, weights, metadata={"format": "pt"})
    # safetensors makes a file for its owner alone; presets are for sharing.
    os.chmod(weights, 0o644)
    config = describe_model(model, architecture, tokenizer, labels)
    write_json(directory, "config.json", config, indent=2)
    if tokenizer is not None:
        save_tokenizer_files(tokenizer, config["max_position_embeddings"], directory)


def load_backbone_weights(backbone: BertBackbone, preset: str, uses_pooler: bool = True) -> None:
    """Fills a backbone; a pooler that the directory does not have stays random, and that is said."""
    table, tensors = tensors_of(backbone), read_tensors(preset)
    if not any(name.startswith(_POOLER) for name in tensors):
        table = {n: tensor for n, tensor in table.items() if not n.startswith(_POOLER)}
        if uses_pooler:
            logging.getLogger(__name__).warning(
                "preset %r holds no pooler: pooled_output is random until it is trained", preset
            )
    _assign(table, tensors, preset)


def load_head_weights(task: Any, preset: str) -> bool:
    """Fills a task's head; False where the directory has none of its kind."""
    table, tensors = head_tensors(task), read_tensors(preset)
    if isinstance(task, BertTextClassifier):
        # Heads over each token, for instance, have tensors of the same names.
        architectures = read_config(preset)["architectures"]
        if architectures and _ARCHITECTURES[BertTextClassifier] not in str(architectures):
            return False
        table |= {n: t for n, t in tensors_of(task.backbone).items() if n.startswith(_POOLER)}
    elif any(name.startswith(_MASKED_LM) for name in tensors):
        _check_decoder(tensors, preset)
    if not head_tensors(task).keys() & tensors.keys():
        return False
    _assign(table, tensors, preset)
    return True


def _check_decoder(tensors: dict[str, NDArray[Any]], preset: str) -> None:
    """Leaves one name of the bias. Raises UserError where the decoder is not the word embedding."""
    decoder, tied = tensors.get(_DECODER), read_config(preset)["tie_word_embeddings"]
    if decoder is not None:
        tied = np.array_equal(decoder, tensors[_EMBEDDING])
    if not tied:
        raise UserError(
            f"{preset}: its masked-LM head has a decoder of its own ({_DECODER}), which here is "
            "always the word embedding; its encoder loads as BertBackbone"
        )
    bias = tensors.get(_DECODER_BIAS)
    if bias is not None and not np.array_equal(tensors.setdefault(_BIAS, bias), bias):
        raise UserError(f"{preset}: {_BIAS} and {_DECODER_BIAS} differ; keep the right one")


def _assign(table: dict[str, Tensor], tensors: Mapping[str, NDArray[Any]], preset: str) -> None:
    source = f"{preset}/model.safetensors"
    for name, ours in table.items():
        theirs = tensors.get(name)
        if theirs is None:
            raise UserError(f"{source}: {name} is missing; the file is damaged")
        if theirs.shape != ours.shape:
            raise UserError(
                f"{source}: {name} has shape {theirs.shape}, not {ours.shape} as config.json says"
            )
        ours.assign(as_float32(theirs, name, source))
