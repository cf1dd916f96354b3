"""BERT to and from Hugging Face's layout: ``config.json``, ``model.safetensors``, ``vocab.txt``, ….

Neither torch nor transformers is needed. A backbone is a ``BertModel``, a ``BertMaskedLM`` a
``BertForMaskedLM``, a ``BertTextClassifier`` a ``BertForSequenceClassification``. Theirs has one
activation and one epsilon for encoder and masked-LM head; KerasNLP's head has its own (exact GELU,
1e-5, where the encoder has tanh GELU, 1e-12), which no config of theirs can say. So the logits of an
exported plain KerasNLP head differ by about 1e-3 (refitting the head's weights on data gained a third
only, so they are exported as they are). Encoders, classifiers, heads with theirs as
``head_options``, heads trained with ``PretrainingModel(portable_head=True)``, and all imports agree
to rounding.
"""

from __future__ import annotations

import json
import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import UserError
from trainer.presets.describe import read_json
from trainer.presets.fetch import fetch_file
from trainer.presets.huggingface_tokenizer import load_tokenizer_files, save_tokenizer_files
from trainer.presets.huggingface_weights import (
    backbone_names,
    head_names,
    next_sentence_names,
    read_weights,
)

_LAYER_NORM_EPSILON = 1e-12
_TANH_GELUS = ("gelu_new", "gelu_pytorch_tanh", "gelu_fast")


def save_huggingface(
    model: Any, tokenizer: Any, directory: str, next_sentence_head: Any = None
) -> None:
    """Writes a backbone or task, and its tokenizer, as Hugging Face does.

    Args:
        model: a BertBackbone, BertMaskedLM or BertTextClassifier.
        tokenizer: its BertTokenizer, or None to write no tokenizer.
        directory: made where missing; files in it are replaced.
        next_sentence_head: a Dense layer of two outputs over the pooled output; with it a
            BertMaskedLM is a ``BertForPreTraining``.
    """
    from safetensors.numpy import save_file

    from trainer.models.bert_backbone import BertBackbone
    from trainer.models.bert_masked_lm import BertMaskedLM
    from trainer.models.bert_text_classifier import BertTextClassifier

    kinds = {
        BertBackbone: "BertModel",
        BertMaskedLM: "BertForMaskedLM",
        BertTextClassifier: "BertForSequenceClassification",
    }
    architecture = kinds.get(type(model))
    if architecture is None:
        raise UserError(f"a {type(model).__name__} has no counterpart at Hugging Face")
    backbone = model if architecture == "BertModel" else model.backbone
    prefix = "" if architecture == "BertModel" else "bert."
    names = {prefix + name: entry for name, entry in backbone_names(backbone).items()}
    names |= head_names(model, architecture)
    if next_sentence_head is not None:
        architecture = "BertForPreTraining"
        names |= next_sentence_names(next_sentence_head)
    tensors = {name: entry.exported() for name, entry in names.items()}
    os.makedirs(directory, exist_ok=True)
    weights = os.path.join(directory, "model.safetensors")
    save_file(tensors, weights, metadata={"format": "pt"})
    # safetensors makes a file for its owner alone; presets are for sharing.
    os.chmod(weights, 0o644)
    config = _config(backbone, architecture, tokenizer)
    if architecture == "BertForSequenceClassification":
        config["id2label"] = {str(i): f"LABEL_{i}" for i in range(model.num_classes)}
        config["label2id"] = {f"LABEL_{i}": i for i in range(model.num_classes)}
        config["classifier_dropout"] = model.dropout
        config["problem_type"] = "single_label_classification"
    with open(os.path.join(directory, "config.json"), "w", encoding="utf-8") as file:
        json.dump(config, file, indent=2)
    if tokenizer is not None:
        save_tokenizer_files(tokenizer, backbone.max_sequence_length, directory)


def load_huggingface(directory: str, **kwargs: Any) -> Any:
    """Loads what a Hugging Face BERT directory (or ``hf://org/model``) holds.

    Returns:
        A BertBackbone, or a BertMaskedLM or BertTextClassifier with its preprocessor, as the
        directory's ``architectures`` says. ``kwargs`` go to ``BertBackbone`` (``dtype``, …).

    Raises:
        UserError: a missing or damaged file, or another model than BERT.
    """
    from trainer.models.bert_masked_lm import BertMaskedLM
    from trainer.models.bert_text_classifier import BertTextClassifier

    tasks = {
        "BertForMaskedLM": BertMaskedLM,
        "BertForPreTraining": BertMaskedLM,
        "BertForSequenceClassification": BertTextClassifier,
    }
    architectures = _read_config(directory).get("architectures") or ["BertModel"]
    task = tasks.get(architectures[0])
    if task is None:
        return load_huggingface_backbone(directory, **kwargs)
    backbone = {"dtype": kwargs.pop("dtype")} if "dtype" in kwargs else {}
    return load_huggingface_task(task, directory, **backbone, **kwargs)


def load_huggingface_backbone(preset: str, load_weights: bool = True, **kwargs: Any) -> Any:
    """The encoder of a Hugging Face directory or ``hf://`` handle as a BertBackbone."""
    from trainer.models.bert_backbone import BertBackbone

    config = _read_config(preset)
    source = f"{preset}/config.json"
    try:
        arguments = {
            "vocabulary_size": config["vocab_size"],
            "num_layers": config["num_hidden_layers"],
            "num_heads": config["num_attention_heads"],
            "hidden_dim": config["hidden_size"],
            "intermediate_dim": config["intermediate_size"],
        }
    except KeyError as error:
        raise UserError(f"{source}: {error} is missing; the directory is damaged") from None
    activation = config.get("hidden_act", "gelu")
    if activation != "gelu" and activation not in _TANH_GELUS:
        raise UserError(
            f"{source}: hidden_act {activation!r} is no GELU; such a BERT is not supported"
        )
    position = config.get("position_embedding_type", "absolute")
    if position != "absolute":
        raise UserError(f"{source}: position_embedding_type {position!r} is not supported")
    arguments |= {
        "dropout": config.get("hidden_dropout_prob", 0.1),
        "max_sequence_length": config.get("max_position_embeddings", 512),
        "num_segments": config.get("type_vocab_size", 2),
        "exact_gelu": activation == "gelu",
    }
    backbone = BertBackbone(**{**arguments, **kwargs})
    if load_weights:
        _assign(backbone_names(backbone), _read_tensors(preset), preset)
    return backbone


def load_huggingface_tokenizer(preset: str, **kwargs: Any) -> Any:
    """The tokenizer of a Hugging Face directory or ``hf://`` handle as a BertTokenizer."""
    return load_tokenizer_files(preset, **kwargs)


def load_huggingface_task(cls: Any, preset: str, load_weights: bool = True, **kwargs: Any) -> Any:
    """A task on the encoder of a Hugging Face directory, with its head where it has one."""
    from trainer.models.bert_masked_lm import BertMaskedLM
    from trainer.presets.load import check_vocabulary

    config = _read_config(preset)
    dtype = {"dtype": kwargs.pop("dtype")} if "dtype" in kwargs else {}
    backbone = load_huggingface_backbone(preset, load_weights, **dtype)
    if "preprocessor" not in kwargs:
        tokenizer = load_huggingface_tokenizer(preset)
        length = backbone.max_sequence_length
        kwargs["preprocessor"] = cls.preprocessor_cls(tokenizer, sequence_length=length)
    check_vocabulary(backbone, kwargs["preprocessor"], preset)
    tensors = _read_tensors(preset) if load_weights else {}
    has_head = any(name.startswith(("cls.predictions.", "classifier.")) for name in tensors)
    if issubclass(cls, BertMaskedLM):
        options = {"layer_norm_epsilon": config.get("layer_norm_eps", _LAYER_NORM_EPSILON)}
        if config.get("hidden_act", "gelu") != "gelu":
            options["intermediate_activation"] = "gelu_approximate"
        kwargs.setdefault("head_options", options)
        task = cls(backbone, **kwargs)
        architecture = "BertForMaskedLM"
    else:
        fresh = "num_classes" in kwargs
        labels = len(config.get("id2label") or {}) or config.get("num_labels", 2)
        task = cls(backbone, **{"num_classes": labels, **kwargs})
        architecture = "BertForSequenceClassification"
        has_head = has_head and not fresh
    if load_weights and has_head:
        _assign(head_names(task, architecture), tensors, preset)
    return task


def _config(backbone: Any, architecture: str, tokenizer: Any) -> dict[str, Any]:
    return {
        "architectures": [architecture],
        "model_type": "bert",
        "vocab_size": backbone.vocabulary_size,
        "hidden_size": backbone.hidden_dim,
        "num_hidden_layers": backbone.num_layers,
        "num_attention_heads": backbone.num_heads,
        "intermediate_size": backbone.intermediate_dim,
        "hidden_act": "gelu" if backbone.exact_gelu else "gelu_new",
        "hidden_dropout_prob": backbone.dropout,
        "attention_probs_dropout_prob": backbone.dropout,
        "max_position_embeddings": backbone.max_sequence_length,
        "type_vocab_size": backbone.num_segments,
        "initializer_range": 0.02,
        "layer_norm_eps": _LAYER_NORM_EPSILON,
        "pad_token_id": 0 if tokenizer is None else tokenizer.pad_token_id,
        "position_embedding_type": "absolute",
        "tie_word_embeddings": True,
        "use_cache": True,
        "torch_dtype": "float32",
    }


def _read_config(preset: str) -> dict[str, Any]:
    config = read_json(fetch_file(preset, "config.json"))
    if config.get("model_type") != "bert":
        raise UserError(
            f"{preset}/config.json: model_type {config.get('model_type')!r} is not 'bert'"
        )
    return config


def _read_tensors(preset: str) -> dict[str, NDArray]:
    return read_weights(fetch_file(preset, "model.safetensors"))


def _assign(names: dict[str, Any], tensors: dict[str, NDArray], preset: str) -> None:
    prefix = "bert." if any(name.startswith("bert.") for name in tensors) else ""
    for name, entry in names.items():
        found = tensors.get(name, tensors.get(prefix + name))
        if found is None:
            if name.startswith("pooler."):  # a masked LM has none: it stays fresh
                continue
            raise UserError(f"{preset}/model.safetensors: {name} is missing; the file is damaged")
        problem = entry.assign(np.asarray(found, np.float32))
        if problem:
            raise UserError(
                f"{preset}/model.safetensors: {name} {problem}; is config.json its own?"
            )
