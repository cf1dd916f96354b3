"""Run by test_huggingface.py: transformers gives the logits and ids that we give, both ways.

``KERAS_BACKEND=jax python -m pytest -rP tests/trainer/presets/transformers_parity.py`` also says
how far apart they are.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from safetensors import safe_open

import trainer
from pipelines.errors import UserError
from trainer.layers.gelu import gelu_approximate
from trainer.models.pretraining_model import PretrainingModel
from trainer.presets.huggingface import save_huggingface

_VOCABULARY = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "the",
    "fox",
    "##es",
    "haus",
    ".",
    "中",
]
_SIZES = {"num_layers": 2, "num_heads": 2, "hidden_dim": 16, "intermediate_dim": 32}
_HF_HEAD = {"intermediate_activation": "gelu_approximate", "layer_norm_epsilon": 1e-12}


@pytest.fixture
def transformers() -> Any:
    pytest.importorskip("torch")
    return pytest.importorskip("transformers")


def _inputs() -> tuple[dict[str, Any], dict[str, Any], np.ndarray]:
    import torch

    rng = np.random.default_rng(0)
    ours = {
        "token_ids": rng.integers(0, len(_VOCABULARY), (2, 9)).astype("int32"),
        "segment_ids": rng.integers(0, 2, (2, 9)).astype("int32"),
        "padding_mask": (np.arange(9) < np.array([[9], [6]])).astype("int32"),
    }
    names = {"token_ids": "input_ids", "segment_ids": "token_type_ids"}
    theirs = {
        names.get(name, "attention_mask"): torch.tensor(value).long()
        for name, value in ours.items()
    }
    return ours, theirs, np.tile(np.arange(6, dtype="int32"), (2, 1))


def _randomize(model: Any) -> None:
    rng = np.random.default_rng(1)
    for weight in model.weights:
        if "seed_generator" not in weight.path:
            weight.assign(rng.normal(1.0 if "gamma" in weight.path else 0.0, 0.2, weight.shape))


def _model(kind: str) -> Any:
    models = trainer.models
    backbone = models.BertBackbone(len(_VOCABULARY), **_SIZES, max_sequence_length=12)
    if kind == "BertModel":
        model = backbone
    elif kind == "BertForMaskedLM":
        model = models.BertMaskedLM(backbone, head_options=_HF_HEAD)
    else:
        model = models.BertClassifier(backbone, num_classes=3)
    _randomize(model)
    return model


def _our_outputs(model: Any) -> np.ndarray:
    ours, _, positions = _inputs()
    names = model.input
    outputs = model({**ours, "mask_positions": positions} if "mask_positions" in names else ours)
    if isinstance(outputs, dict):
        outputs = outputs["sequence_output"]
    return keras.ops.convert_to_numpy(outputs)


def _their_outputs(model: Any) -> np.ndarray:
    import torch

    _, theirs, positions = _inputs()
    with torch.no_grad():
        outputs = model.eval()(**theirs)
    if "ForMaskedLM" in type(model).__name__:
        return outputs.logits.numpy()[:, : positions.shape[1]]
    return (outputs.logits if "logits" in outputs else outputs.last_hidden_state).numpy()


def _assert_close(pair: str, found: np.ndarray, expected: np.ndarray, atol: float) -> None:
    print(f"parity: {pair}: {np.abs(found - expected).max():.1e}")
    np.testing.assert_allclose(found, expected, rtol=0, atol=atol)


_KINDS = ["BertModel", "BertForMaskedLM", "BertForSequenceClassification"]


@pytest.mark.parametrize("kind", _KINDS)
def test_ours_to_theirs_and_back(transformers: Any, tmp_path: Path, kind: str) -> None:
    model = _model(kind)
    tokenizer = trainer.models.BertTokenizer(_VOCABULARY, lowercase=True)
    save_huggingface(model, tokenizer, str(tmp_path))
    expected = _our_outputs(model)
    theirs = getattr(transformers, kind).from_pretrained(tmp_path)
    _assert_close(f"ours to transformers, {kind}", _their_outputs(theirs), expected, atol=1e-4)
    loaded = type(model).from_preset(str(tmp_path))
    _assert_close(f"back from transformers, {kind}", _our_outputs(loaded), expected, atol=1e-5)
    fast = transformers.AutoTokenizer.from_pretrained(tmp_path)
    text = "The  foxes. Häus 中中 zzz"
    assert fast.encode(text, add_special_tokens=False) == list(tokenizer(text))
    assert fast.encode("the", "fox") == [2, 5, 3, 6, 3]


@pytest.mark.parametrize("kind", _KINDS)
@pytest.mark.parametrize("activation", ["gelu", "gelu_new"])
def test_theirs_to_ours(transformers: Any, tmp_path: Path, kind: str, activation: str) -> None:
    config = transformers.BertConfig(
        vocab_size=len(_VOCABULARY),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=12,
        num_labels=3,
        hidden_act=activation,
        initializer_range=0.3,
    )
    theirs = getattr(transformers, kind)(config)
    theirs.save_pretrained(tmp_path)
    (tmp_path / "vocab.txt").write_text("".join(f"{token}\n" for token in _VOCABULARY))
    bases = {"BertModel": "Backbone", "BertForMaskedLM": "MaskedLM"}
    base = getattr(trainer.models, bases.get(kind, "TextClassifier"))
    loaded = base.from_preset(str(tmp_path))
    pair = f"transformers to ours, {kind}, {activation}"
    _assert_close(pair, _our_outputs(loaded), _their_outputs(theirs), atol=1e-4)
    # And through a preset of ours, which keeps what KerasHub's format cannot say.
    loaded.save_to_preset(str(tmp_path / "preset"))
    again = base.from_preset(str(tmp_path / "preset"))
    np.testing.assert_allclose(_our_outputs(again), _our_outputs(loaded), atol=1e-6)


def test_keras_nlp_head_differs_only_by_its_activation_and_epsilon(tmp_path: Path) -> None:
    task = trainer.models.BertMaskedLM(
        trainer.models.BertBackbone(len(_VOCABULARY), **_SIZES, max_sequence_length=12)
    )
    _randomize(task)
    save_huggingface(task, None, str(tmp_path))
    loaded = trainer.models.MaskedLM.from_preset(str(tmp_path), preprocessor=None)
    assert loaded.masked_lm_head.intermediate_activation is gelu_approximate
    difference = np.abs(_our_outputs(loaded) - _our_outputs(task)).max()
    assert 0 < difference < 5e-3


def _pretrained(portable: bool) -> Any:
    """A masked LM as pretraining hands it over, its head's weights as large as trained ones."""
    backbone = trainer.models.BertBackbone(len(_VOCABULARY), **_SIZES, max_sequence_length=12)
    model = PretrainingModel(backbone, portable_head=portable)
    rng = np.random.default_rng(2)
    for weight in model.trainable_variables:
        weight.assign(rng.normal(1.0 if "gamma" in weight.path else 0.0, 0.3, weight.shape))
    return model.to_masked_lm()


def test_portable_head_is_the_same_function_at_hugging_face(
    transformers: Any, tmp_path: Path
) -> None:
    differences = {}
    for portable in (False, True):
        task = _pretrained(portable)
        folder = tmp_path / str(portable)
        save_huggingface(task, None, str(folder))
        theirs = transformers.BertForMaskedLM.from_pretrained(folder)
        differences[portable] = np.abs(_their_outputs(theirs) - _our_outputs(task)).max()
    assert differences[True] < 2e-5
    # A plain KerasNLP head cannot be: the bound above can fail.
    assert 1e-4 < differences[False] < 5e-3


def test_every_tensor_is_there_once(transformers: Any, tmp_path: Path) -> None:
    save_huggingface(_model("BertForMaskedLM"), None, str(tmp_path))
    with safe_open(tmp_path / "model.safetensors", framework="numpy") as file:
        tensors = [file.get_tensor(name) for name in file.keys()]  # noqa: SIM118
    tables = [tensor for tensor in tensors if tensor.shape == (len(_VOCABULARY), 16)]
    assert len(tables) == 1, "the tied decoder is the word embedding"
    model, notes = transformers.BertForMaskedLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not notes["missing_keys"]
    assert not notes["mismatched_keys"]
    decoder, embedding = model.cls.predictions.decoder, model.get_input_embeddings()
    assert decoder.weight.data_ptr() == embedding.weight.data_ptr()


def test_pooled_outputs_agree_too(transformers: Any, tmp_path: Path) -> None:
    backbone = _model("BertModel")
    save_huggingface(backbone, None, str(tmp_path))
    ours, theirs, _ = _inputs()
    model = transformers.BertModel.from_pretrained(tmp_path).eval()
    found = model(**theirs).pooler_output.detach().numpy()
    expected = keras.ops.convert_to_numpy(backbone(ours)["pooled_output"])
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_damaged_directories(tmp_path: Path) -> None:
    save_huggingface(_model("BertModel"), None, str(tmp_path))
    (tmp_path / "model.safetensors").write_bytes(b"\x80\x04pickle")
    with pytest.raises(UserError, match="safetensors"):
        trainer.models.Backbone.from_preset(str(tmp_path))
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(UserError, match="no file model.safetensors"):
        trainer.models.Backbone.from_preset(str(tmp_path))
    config = tmp_path / "config.json"
    config.write_text(config.read_text().replace('"bert"', '"gpt2"'))
    with pytest.raises(UserError, match="'gpt2' is not 'bert'"):
        trainer.models.Backbone.from_preset(str(tmp_path))
