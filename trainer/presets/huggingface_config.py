"""Hugging Face's ``config.json``, read by a list: each key is honoured, without effect, or refused.

A key outside the lists may change what the model computes, so only values that switch a thing off
pass: null, false, 0 and what is empty.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pipelines.errors import UserError
from pipelines.storage.json_file import read_json
from trainer.models.bert_backbone import BertBackbone
from trainer.models.bert_masked_lm import BertMaskedLM
from trainer.models.bert_text_classifier import BertTextClassifier
from trainer.presets.check_arguments import check_arguments
from trainer.presets.fetch import fetch_file

# Their keys in their order, with the values of a file that leaves them out.
_DEFAULTS: dict[str, Any] = {
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
    "layer_norm_eps": "layer_norm_epsilon",
}
_OF_HEADS = {"classifier_dropout", "id2label", "num_labels", "_num_labels"}
# What Transformers' BERT keeps without computing with it (the weights say whether the decoder is
# tied, and of what type they are), or with effect on training, on labels' names or on speed alone.
_WITHOUT_EFFECT = """
_attn_implementation _attn_implementation_autoset _commit_hash _name_or_path attn_implementation
bos_token_id chunk_size_feed_forward cls_token_id custom_pipelines decoder_start_token_id
directionality do_sample dtype early_stopping eos_token_id eos_token_ids finetuning_task
gradient_checkpointing label2id language length_penalty mask_token_id max_length min_length
model_max_length name_or_path num_beam_groups num_beams num_return_sequences output_attentions
output_hidden_states output_past pooler_fc_size pooler_num_attention_heads pooler_num_fc_layers
pooler_size_per_head pooler_type prefix problem_type repetition_penalty return_dict
sbert_ce_default_activation_function sentence_transformers sep_token_id task_specific_params
temperature tie_encoder_decoder tokenizer_class top_k top_p torchscript transformers.js_config
transformers_version typical_p unk_token_id use_bfloat16 xla_device
"""
_KNOWN = _DEFAULTS.keys() | _OF_HEADS | set(_WITHOUT_EFFECT.split())
_EXACT_GELUS = ("gelu", "gelu_python")
_TANH_GELUS = ("gelu_new", "gelu_pytorch_tanh", "gelu_fast", "gelu_accurate", "gelu_python_tanh")


def read_config(preset: str) -> dict[str, Any]:
    """The configuration, complete. Raises UserError for one that is not supported in every key."""
    source = f"{preset}/config.json"
    given = read_json(fetch_file(preset, "config.json"))
    if given.get("model_type") != "bert":
        raise UserError(f"{source}: model_type {given.get('model_type')!r} is not 'bert'")
    for key, value in given.items():
        if value and key not in _KNOWN:
            raise UserError(
                f"{source}: {key} {str(value)[:80]!r} is not supported: it may change what the model "
                "computes (if you know that it does not, delete it)"
            )
    config = {**_DEFAULTS, **given}
    for key in _ARGUMENTS:
        if config[key] is None:
            raise UserError(f"{source}: {key!r} is missing; the directory is damaged")
    if config["hidden_act"] not in (*_EXACT_GELUS, *_TANH_GELUS):
        raise UserError(
            f"{source}: hidden_act {config['hidden_act']!r} is not a GELU, which BERT needs here"
        )
    position = config["position_embedding_type"] or "absolute"
    if position != "absolute":
        raise UserError(f"{source}: position_embedding_type {position!r} is not supported")
    return config


def backbone_arguments(preset: str) -> dict[str, Any]:
    """``BertBackbone``'s arguments for the encoder of a Hugging Face directory or handle."""
    config = read_config(preset)
    arguments = {ours: config[theirs] for theirs, ours in _ARGUMENTS.items()}
    if config["attention_probs_dropout_prob"] != arguments["dropout"]:
        arguments["attention_dropout"] = config["attention_probs_dropout_prob"]
    check_arguments(BertBackbone, arguments, f"{preset}/config.json")
    return {**arguments, "exact_gelu": config["hidden_act"] in _EXACT_GELUS}


def task_arguments(cls: Any, preset: str) -> dict[str, Any]:
    """The arguments of a head of class ``cls`` that a Hugging Face directory decides."""
    config = read_config(preset)
    if issubclass(cls, BertMaskedLM):
        options = {"layer_norm_epsilon": config["layer_norm_eps"]}
        if config["hidden_act"] not in _EXACT_GELUS:
            options["intermediate_activation"] = "gelu_approximate"
        return {"head_options": options}
    labels = config.get("id2label")
    count = config.get("num_labels", config.get("_num_labels")) or 2
    arguments = {"num_classes": len(labels) if labels and isinstance(labels, dict) else count}
    dropout = config.get("classifier_dropout")
    arguments["dropout"] = config["hidden_dropout_prob"] if dropout is None else dropout
    check_arguments(cls, arguments, f"{preset}/config.json")
    return arguments


def describe_model(
    model: Any, architecture: str, tokenizer: Any, labels: Sequence[str] = ()
) -> dict[str, Any]:
    """The content of ``config.json`` for a model of ours; ``labels`` name a classifier's classes."""
    backbone = getattr(model, "backbone", model)
    attention_dropout = backbone.attention_dropout
    config = {
        **_DEFAULTS,
        "architectures": [architecture],
        **{theirs: getattr(backbone, ours) for theirs, ours in _ARGUMENTS.items()},
        "hidden_act": "gelu" if backbone.exact_gelu else "gelu_new",
        "attention_probs_dropout_prob": (
            backbone.dropout if attention_dropout is None else attention_dropout
        ),
        "pad_token_id": 0 if tokenizer is None else tokenizer.pad_token_id,
    }
    if isinstance(model, BertTextClassifier):
        classes = labels or [f"LABEL_{i}" for i in range(model.num_classes)]
        config |= {
            "id2label": {str(i): label for i, label in enumerate(classes)},
            "label2id": {label: i for i, label in enumerate(classes)},
            "classifier_dropout": model.dropout,
            "problem_type": "regression" if len(classes) == 1 else "single_label_classification",
        }
    return config
