"""Names, order and defaults of arguments are KerasHub's; what we add comes after theirs."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

import trainer

_CLASSES = [
    *(f"models.{name}" for name in ("BertTokenizer", "BertPreprocessor", "BertBackbone")),
    *(f"models.{name}" for name in ("BertTextClassifierPreprocessor", "BertMaskedLMPreprocessor")),
    *(f"models.{name}" for name in ("BertMaskedLM", "BertClassifier", "BertTextClassifier")),
    *(f"layers.{name}" for name in ("MaskedLMHead", "MaskedLMMaskGenerator", "StartEndPacker")),
    *(f"layers.{name}" for name in ("MultiSegmentPacker", "TokenAndPositionEmbedding")),
    *(f"layers.{name}" for name in ("PositionEmbedding", "TransformerEncoder")),
    *(f"layers.{name}" for name in ("ReversibleEmbedding",)),
    "tokenizers.WordPieceTokenizer",
]
_METHODS = ("__init__", "call", "from_preset", "save_to_preset", "fit", "compile")
_METHODS = (*_METHODS, "tokenize", "detokenize")
# config_file tells KerasHub's loader where to look, max_shard_size splits weights above 10 GB.
_LEFT_OUT = {"self", "args", "kwargs", "config_file", "max_shard_size", "training"}
_OURS = {"strip_accents", "seed", "exact_gelu", "head_options", "shuffle", "positions"}
_OURS |= {"attention_dropout", "document_ids", "layer_norm_epsilon"}


def _arguments(function: Any) -> list[tuple[str, Any]]:
    return [
        (name, parameter.default)
        for name, parameter in inspect.signature(function).parameters.items()
        if name not in _LEFT_OUT
    ]


@pytest.mark.parametrize("name", _CLASSES)
def test_arguments_are_keras_hubs(name: str) -> None:
    hub = pytest.importorskip("keras_hub")
    package, cls = name.split(".")
    ours = getattr(getattr(trainer, package), cls)
    theirs = getattr(getattr(hub, package), cls)
    compared = 0
    for method in _METHODS:
        # The functional models' call takes whatever Keras passes.
        if not hasattr(theirs, method) or (package, method) == ("models", "call"):
            continue
        expected = _arguments(getattr(theirs, method))
        found = _arguments(getattr(ours, method))
        assert found[: len(expected)] == expected, method
        assert {argument for argument, _ in found[len(expected) :]} <= _OURS, method
        compared += len(expected)
    assert compared


def test_aliases_and_class_properties() -> None:
    models = trainer.models
    assert models.BertClassifier is models.BertTextClassifier
    assert models.BertPreprocessor is models.BertTextClassifierPreprocessor
    for cls in (models.BertBackbone, models.BertTokenizer, models.BertPreprocessor):
        assert "bert_tiny_en_uncased" in cls.presets
    assert models.BertMaskedLM.presets.keys() == models.BertBackbone.presets.keys()
    assert models.BertTextClassifier.backbone_cls is models.BertBackbone
    assert models.BertMaskedLM.preprocessor_cls is models.BertMaskedLMPreprocessor
    assert models.BertPreprocessor.tokenizer_cls is models.BertTokenizer
