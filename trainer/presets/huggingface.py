"""BERT to and from Hugging Face's layout: ``config.json``, ``model.safetensors``, ``vocab.txt``, ….

Neither torch nor transformers is needed. There encoder and masked-LM head share one activation and
one epsilon; KerasNLP's head has its own (exact GELU and 1e-5, where the encoder has tanh GELU and
1e-12), which no such config can express. So the logits of an exported plain KerasNLP head differ by
about 1e-3. Encoders, classifiers, imported heads, and heads trained with
``PretrainingModel(portable_head=True)`` agree to rounding.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import UserError
from pipelines.storage.json_file import read_json
from trainer.models.bert_backbone import BertBackbone
from trainer.models.bert_masked_lm import BertMaskedLM
from trainer.models.bert_text_classifier import BertTextClassifier
from trainer.presets.check_arguments import check_arguments
from trainer.presets.fetch import fetch_file
from trainer.presets.huggingface_tokenizer import save_tokenizer_files
from trainer.presets.huggingface_weights import Tensor, head_tensors, read_safetensors, tensors_of
from trainer.presets.json_files import write_json

_ARCHITECTURES: dict[Any, str] = {
    BertBackbone: "BertModel",
    BertMaskedLM: "BertForMaskedLM",
    BertTextClassifier: "BertForSequenceClassification",
}
# Their config.json in its order; a file may leave out what is not None here.
_CONFIG: dict[str, Any] = {
    "architectures": None,
    "model_type": "bert",
    "vocab_size": None,
    "hidden_size": None,
    "num_hidden_layers": None,
    "num_attention_heads": None,
    "intermediate_size": None,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "initializer_range": 0.02,
    "layer_norm_eps": 1e-12,
    "pad_token_id": 0,
    "position_embedding_type": "absolute",
    "tie_word_embeddings": True,
    "use_cache": True,
    "torch_dtype": "float32",
}
# Their keys -> our arguments.
_ARGUMENTS = {
    "vocab_size": "vocabulary_size",
    "hidden_size": "hidden_dim",
    "num_hidden_layers": "num_layers",
    "num_attention_heads": "num_heads",
    "intermediate_size": "intermediate_dim",
    "hidden_dropout_prob": "dropout",
    "max_position_embeddings": "max_sequence_length",
    "type_vocab_size": "num_segments",
}
_TANH_GELUS = ("gelu_new", "gelu_pytorch_tanh", "gelu_fast")
_HEADS = ("cls.", "classifier.")


def save_huggingface(
    model: Any, tokenizer: Any, directory: str, next_sentence_head: Any = None
) -> None:
    """Writes a backbone or task, and its tokenizer, as Hugging Face does.

    Args:
        model: a BertBackbone, BertMaskedLM or BertTextClassifier.
        tokenizer: its BertTokenizer, or None to write none.
        directory: created if missing; files in it are replaced.
        next_sentence_head: a Dense layer of two outputs over the pooled output; with it a
            BertMaskedLM is a ``BertForPreTraining``.
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
    config = _config_of(model, architecture, tokenizer)
    write_json(directory, "config.json", config, indent=2)
    if tokenizer is not None:
        save_tokenizer_files(tokenizer, config["max_position_embeddings"], directory)


def backbone_arguments(preset: str) -> dict[str, Any]:
    """``BertBackbone``'s arguments for the encoder of a Hugging Face directory or handle."""
    config, source = _read_config(preset), f"{preset}/config.json"
    for key in _ARGUMENTS:
        if config[key] is None:
            raise UserError(f"{source}: {key!r} is missing; the directory is damaged")
    if config["hidden_act"] not in ("gelu", *_TANH_GELUS):
        raise UserError(
            f"{source}: hidden_act {config['hidden_act']!r} is not a GELU, which BERT needs here"
        )
    position = config["position_embedding_type"]
    if position != "absolute":
        raise UserError(f"{source}: position_embedding_type {position!r} is not supported")
    arguments = {ours: config[theirs] for theirs, ours in _ARGUMENTS.items()}
    check_arguments(BertBackbone, arguments, source)
    return {**arguments, "exact_gelu": config["hidden_act"] == "gelu"}


def task_arguments(cls: Any, preset: str) -> dict[str, Any]:
    """The arguments of a head of class ``cls`` that a Hugging Face directory decides."""
    config = _read_config(preset)
    if not issubclass(cls, BertMaskedLM):
        labels = config.get("id2label")
        count = len(labels) if labels and isinstance(labels, dict) else config.get("num_labels", 2)
        check_arguments(cls, {"num_classes": count}, f"{preset}/config.json")
        return {"num_classes": count}
    options = {"layer_norm_epsilon": config["layer_norm_eps"]}
    if config["hidden_act"] != "gelu":
        options["intermediate_activation"] = "gelu_approximate"
    return {"head_options": options}


def load_backbone_weights(backbone: BertBackbone, preset: str) -> None:
    """Fills a backbone; a masked LM's has no pooler, which then stays fresh."""
    _assign(tensors_of(backbone), _read_tensors(preset), preset, optional="pooler.")


def load_head_weights(task: Any, preset: str) -> None:
    """Fills a task's head where the directory has one of its kind."""
    table, tensors = head_tensors(task), _read_tensors(preset)
    if table.keys() & tensors.keys():
        _assign(table, tensors, preset)


def _config_of(model: Any, architecture: str, tokenizer: Any) -> dict[str, Any]:
    backbone = getattr(model, "backbone", model)
    config = {
        **_CONFIG,
        "architectures": [architecture],
        **{theirs: getattr(backbone, ours) for theirs, ours in _ARGUMENTS.items()},
        "hidden_act": "gelu" if backbone.exact_gelu else "gelu_new",
        "attention_probs_dropout_prob": backbone.dropout,
        "pad_token_id": 0 if tokenizer is None else tokenizer.pad_token_id,
    }
    if isinstance(model, BertTextClassifier):
        config |= {
            "id2label": {str(i): f"LABEL_{i}" for i in range(model.num_classes)},
            "label2id": {f"LABEL_{i}": i for i in range(model.num_classes)},
            "classifier_dropout": model.dropout,
            "problem_type": "single_label_classification",
        }
    return config


def _read_config(preset: str) -> dict[str, Any]:
    config = read_json(fetch_file(preset, "config.json"))
    if config.get("model_type") != "bert":
        raise UserError(
            f"{preset}/config.json: model_type {config.get('model_type')!r} is not 'bert'"
        )
    return {**_CONFIG, **config}


def _read_tensors(preset: str) -> dict[str, NDArray]:
    return read_safetensors(fetch_file(preset, "model.safetensors"))


def _assign(
    table: dict[str, Tensor],
    tensors: dict[str, NDArray],
    preset: str,
    optional: str | None = None,
) -> None:
    source = f"{preset}/model.safetensors"
    for name, ours in table.items():
        theirs = tensors.get(name)
        if theirs is None:
            if optional and name.startswith(optional):
                continue
            raise UserError(f"{source}: {name} is missing; the file is damaged")
        if theirs.shape != ours.shape:
            raise UserError(
                f"{source}: {name} has shape {theirs.shape}, not {ours.shape} as config.json says"
            )
        ours.assign(np.asarray(theirs, np.float32))
