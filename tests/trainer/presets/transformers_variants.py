"""Run by test_huggingface.py: what transformers saves loads with its outputs, or is refused."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import trainer
from tests.trainer.presets.saved_by_transformers import (
    VOCABULARY,
    assert_equal,
    edit_json,
    edit_weights,
    load,
    make,
    refused,
    save,
    save_tokenizer,
    their_outputs,
)
from trainer.presets.huggingface import save_huggingface

_MASKED_LM, _CLASSIFIER = "BertForMaskedLM", "BertForSequenceClassification"
_CONFIGURATIONS: list[tuple[str, dict[str, Any]]] = [
    ("BertModel", {}),
    ("BertModel", {"hidden_size": 24, "num_attention_heads": 4, "intermediate_size": 20}),
    ("BertModel", {"num_hidden_layers": 1, "num_attention_heads": 1, "type_vocab_size": 1}),
    ("BertModel", {"type_vocab_size": 4, "hidden_act": "gelu_python"}),
    ("BertModel", {"hidden_act": "gelu_pytorch_tanh", "layer_norm_eps": 1e-5}),
    ("BertModel", {"hidden_act": "gelu_new", "layer_norm_eps": 0.01}),
    ("BertModel", {"pooler": False}),
    (_MASKED_LM, {}),
    (_MASKED_LM, {"hidden_act": "gelu_fast", "layer_norm_eps": 0.1}),
    ("BertForPreTraining", {"hidden_act": "gelu_accurate"}),
    (_CLASSIFIER, {"num_labels": 3, "classifier_dropout": 0.4}),
    (_CLASSIFIER, {"num_labels": 1, "hidden_dropout_prob": 0.3}),
]


@pytest.mark.parametrize(("kind", "changes"), _CONFIGURATIONS)
def test_configurations(kind: str, changes: dict[str, Any], tmp_path: Path) -> None:
    model = save(make(kind, **changes), tmp_path)
    loaded = load(kind, tmp_path)
    assert_equal(model, loaded)
    # And back, with what the configuration says of it.
    save_huggingface(loaded, None, str(tmp_path / "back"))
    back = type(model).from_pretrained(tmp_path / "back")
    np.testing.assert_allclose(their_outputs(back)[0], their_outputs(model)[0], atol=1e-4)
    for key in ("layer_norm_eps", "hidden_dropout_prob", "attention_probs_dropout_prob"):
        assert getattr(back.config, key) == getattr(model.config, key)
    if kind == _CLASSIFIER:
        config = model.config
        dropout = config.classifier_dropout
        assert loaded.dropout == (config.hidden_dropout_prob if dropout is None else dropout)
        assert back.config.num_labels == config.num_labels


def test_another_epsilon_is_kept_in_a_preset_of_ours(tmp_path: Path) -> None:
    model = save(make(layer_norm_eps=0.01, attention_probs_dropout_prob=0.0), tmp_path)
    load("BertModel", tmp_path).save_to_preset(str(tmp_path / "preset"))
    again = trainer.models.BertBackbone.from_preset(str(tmp_path / "preset"))
    assert again.layer_norm_epsilon == 0.01
    assert again.attention_dropout == 0.0
    assert_equal(model, again)


def _named(change: Callable[[str], str]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda tensors: {change(name): tensor for name, tensor in tensors.items()}


_STORED: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "as it is": lambda tensors: tensors,
    "DataParallel": _named("module.{}".format),
    "compiled": _named("_orig_mod.module.{}".format),
    "gamma and beta": _named(
        lambda name: name.replace("Norm.weight", "Norm.gamma").replace("Norm.bias", "Norm.beta")
    ),
    "the decoder's bias": _named(
        lambda name: name.replace("predictions.b", "predictions.decoder.b")
    ),
    "the decoder too": lambda tensors: {
        **tensors,
        "cls.predictions.decoder.weight": tensors["bert.embeddings.word_embeddings.weight"],
        "cls.predictions.decoder.bias": tensors["cls.predictions.bias"],
        "bert.embeddings.position_ids": torch.arange(12)[None],
    },
    "doubles": lambda tensors: {name: tensor.double() for name, tensor in tensors.items()},
}


@pytest.fixture(scope="module")
def masked_lm(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    folder = tmp_path_factory.mktemp("masked_lm")
    model = save(make(_MASKED_LM), folder)
    save_tokenizer(folder)
    return model, folder


@pytest.fixture
def copy(masked_lm: tuple[Any, Path], tmp_path: Path) -> Path:
    for path in masked_lm[1].iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


@pytest.mark.parametrize("stored", _STORED)
def test_names_and_types_of_tensors(stored: str, masked_lm: tuple[Any, Path], copy: Path) -> None:
    edit_weights(copy, _STORED[stored])
    assert_equal(masked_lm[0], load(_MASKED_LM, copy))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(dtype: Any, tmp_path: Path) -> None:
    model = save(make(_CLASSIFIER).to(dtype), tmp_path)
    assert_equal(model, load(_CLASSIFIER, tmp_path))


def test_weights_in_parts(tmp_path: Path) -> None:
    model = save(make(_MASKED_LM), tmp_path, max_shard_size="4KB")
    index = tmp_path / "model.safetensors.index.json"
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 2
    assert_equal(model, load(_MASKED_LM, tmp_path))
    parts = json.loads(index.read_text())["weight_map"]
    edit_json(index, weight_map={**parts, "bert.pooler.dense.bias": "../model.safetensors"})
    assert "outside itself" in refused(lambda: load(_MASKED_LM, tmp_path))
    next(iter(tmp_path.glob("model-*.safetensors"))).unlink()
    edit_json(index, weight_map=parts)
    assert "no file model-0000" in refused(lambda: load(_MASKED_LM, tmp_path))
    edit_json(index, weight_map={"a": 1})
    assert "no weight_map" in refused(lambda: load(_MASKED_LM, tmp_path))


def test_pickles_are_not_read_and_the_way_out_works(
    masked_lm: tuple[Any, Path], copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (copy / "model.safetensors").unlink()
    (copy / "tf_model.h5").touch()
    assert "only tf_model.h5" in refused(lambda: load(_MASKED_LM, copy))
    torch.save(masked_lm[0].state_dict(), copy / "pytorch_model.bin")
    message = refused(lambda: load(_MASKED_LM, copy))
    assert "no file model.safetensors, only pytorch_model.bin" in message
    monkeypatch.chdir(copy)
    exec(message.split('-c "')[1].removesuffix('"'))
    assert_equal(masked_lm[0], load(_MASKED_LM, copy))


_OLD_KEYS = {
    "_num_labels": 5,
    "directionality": "bidi",
    "finetuning_task": "sst-2",
    "output_past": True,
    "pooler_fc_size": 768,
    "pooler_num_fc_layers": 3,
    "pooler_type": "first_token_transform",
    "gradient_checkpointing": False,
    "torchscript": False,
    "pruned_heads": {},
    "top_k": 50,
}
_REFUSED = {
    "is_decoder": True,
    "add_cross_attention": True,
    "is_encoder_decoder": True,
    "position_embedding_type": "relative_key",
    "hidden_act": "relu",
    "pruned_heads": {"0": [1]},
    "auto_map": {"AutoModel": "modeling.Bert"},
    "quantization_config": {"bits": 4},
    "feed_forward_type": "geglu",
    "tie_word_embeddings": False,
    "layer_norm_eps": "small",
    "model_type": "roberta",
}


def test_keys_without_effect(masked_lm: tuple[Any, Path], copy: Path) -> None:
    edit_json(copy / "config.json", **_OLD_KEYS)
    assert_equal(masked_lm[0], load(_MASKED_LM, copy))


@pytest.mark.parametrize("key", _REFUSED)
def test_keys_that_change_the_model(key: str, copy: Path) -> None:
    edit_json(copy / "config.json", **{key: _REFUSED[key]})
    assert key.replace("eps", "epsilon").replace(
        "tie_word_embeddings", "decoder.weight"
    ) in refused(lambda: load(_MASKED_LM, copy))


def test_tensors_that_change_the_model(copy: Path) -> None:
    whole = (copy / "model.safetensors").read_bytes()
    for name, value, said in (
        ("cls.predictions.decoder.weight", torch.ones(len(VOCABULARY), 16), "decoder of its own"),
        (
            "cls.predictions.decoder.bias",
            torch.ones(len(VOCABULARY)),
            "differ; keep the right one",
        ),
        ("bert.pooler.dense.weight", torch.ones(16, 16).to(torch.int8), "is int8, not a float"),
        ("module.bert.embeddings.LayerNorm.bias", torch.ones(16), "a second embeddings.LayerNorm"),
        ("bert.encoder.layer.1.output.dense.bias", torch.ones(8), "has shape (8,), not (16,)"),
    ):
        edit_weights(copy, lambda tensors, name=name, value=value: {**tensors, name: value})
        kind = "BertModel" if "pooler" in name else _MASKED_LM
        assert said in refused(lambda kind=kind: load(kind, copy))
        (copy / "model.safetensors").write_bytes(whole)
    # A decoder of its own does not matter to the encoder.
    edit_weights(copy, lambda t: {**t, "cls.predictions.decoder.weight": torch.ones(25, 16)})
    load("BertModel", copy)


def test_heads_that_are_not_there(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    for kind in (_MASKED_LM, _CLASSIFIER, "BertForTokenClassification", "BertModel"):
        save(make(kind), tmp_path / kind)
    for kind in (_MASKED_LM, "BertForTokenClassification", "BertModel"):
        message = refused(lambda kind=kind: load(_CLASSIFIER, tmp_path / kind))
        assert "holds no classifier; pass num_classes=" in message
    caplog.clear()
    load(_CLASSIFIER, tmp_path / _CLASSIFIER)
    load(_MASKED_LM, tmp_path / _MASKED_LM)
    assert not caplog.messages
    load(_MASKED_LM, tmp_path / _CLASSIFIER)
    load(_CLASSIFIER, tmp_path / "BertModel", num_classes=2)
    load("BertModel", tmp_path / _MASKED_LM)
    heads = ["BertMaskedLM", "BertTextClassifier", "no pooler"]
    assert all(what in line for what, line in zip(heads, caplog.messages, strict=True))
