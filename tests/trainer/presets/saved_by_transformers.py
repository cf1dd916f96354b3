"""What the tests of models and tokenizers that transformers saves have in common."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

import trainer
from pipelines.errors import UserError

VOCABULARY = (
    "[PAD] [UNK] [CLS] [SEP] [MASK] [unused0] the fox ##es haus häus Haus Häus ha ##us häu ##s . [ ] "
    "中 文 user < >"
).split()
_SIZES = {
    "vocab_size": len(VOCABULARY),
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 12,
}
_OURS = {
    "BertForMaskedLM": trainer.models.BertMaskedLM,
    "BertForPreTraining": trainer.models.BertMaskedLM,
    "BertForSequenceClassification": trainer.models.BertTextClassifier,
}


def make(kind: str = "BertModel", **changes: Any) -> Any:
    """A model of transformers whose weights are all random, biases too."""
    torch.manual_seed(0)
    options = {"add_pooling_layer": changes.pop("pooler")} if "pooler" in changes else {}
    model = getattr(transformers, kind)(transformers.BertConfig(**{**_SIZES, **changes}), **options)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(float(name.endswith("LayerNorm.weight")), 0.3)
    return model.eval()


def save(model: Any, folder: Path, **options: Any) -> Any:
    model.save_pretrained(folder, **options)
    return model


def _inputs(segments: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "token_ids": rng.integers(0, len(VOCABULARY), (2, 9)).astype("int32"),
        "segment_ids": rng.integers(0, segments, (2, 9)).astype("int32"),
        "padding_mask": (np.arange(9) < np.array([[9], [6]])).astype("int32"),
    }


def their_outputs(model: Any) -> list[np.ndarray]:
    token_ids, segment_ids, padding_mask = (
        torch.tensor(value).long() for value in _inputs(model.config.type_vocab_size).values()
    )
    with torch.no_grad():
        outputs = model.float()(token_ids, padding_mask, segment_ids)
    if "prediction_logits" in outputs:
        return [outputs.prediction_logits.numpy()]
    if "logits" in outputs:
        return [outputs.logits.numpy()]
    pooled = outputs.pooler_output
    return [outputs.last_hidden_state.numpy(), *([] if pooled is None else [pooled.numpy()])]


def our_outputs(model: Any) -> list[np.ndarray]:
    inputs = _inputs(getattr(model, "backbone", model).num_segments)
    if "mask_positions" in model.input:
        inputs["mask_positions"] = np.tile(np.arange(9, dtype="int32"), (2, 1))
    outputs = model(inputs)
    if isinstance(outputs, dict):
        outputs = (outputs["sequence_output"], outputs["pooled_output"])
    else:
        outputs = (outputs,)
    return [keras.ops.convert_to_numpy(output) for output in outputs]


def load(kind: str, folder: Path, **options: Any) -> Any:
    if kind not in _OURS:
        return trainer.models.BertBackbone.from_preset(str(folder))
    return _OURS[kind].from_preset(str(folder), preprocessor=None, **options)


def assert_equal(model: Any, loaded: Any) -> None:
    theirs = their_outputs(model)
    for expected, found in zip(theirs, our_outputs(loaded)[: len(theirs)], strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4)


def edit_weights(folder: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    path = folder / "model.safetensors"
    tensors = change(load_file(path))
    save_file({name: tensor.clone() for name, tensor in tensors.items()}, path)


def refused(load: Callable[[], Any]) -> str:
    with pytest.raises(UserError) as caught:
        load()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def edit_json(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def save_tokenizer(folder: Path, files: str = "both", **options: Any) -> None:
    """As transformers saves one (``tokenizer.json`` only), or with ``vocab.txt`` too or only that."""
    ids = {piece: i for i, piece in enumerate(VOCABULARY)}
    transformers.BertTokenizer(vocab=ids, **options).save_pretrained(folder)
    if files != "fast":
        (folder / "vocab.txt").write_text("".join(f"{piece}\n" for piece in VOCABULARY))
    if files == "vocab.txt":
        (folder / "tokenizer.json").unlink()
    if not (folder / "config.json").exists():
        (folder / "config.json").write_text('{"model_type": "bert"}')
