"""Objects as the JSON that KerasHub writes for them, and back.

Reading builds only the classes listed here, from plain values: it never imports a module that a file
names, nor runs what a file holds. What KerasHub has no argument for is kept beside its ``config``
under the key "bertmill", which KerasHub ignores.
"""

from __future__ import annotations

import importlib
import inspect
import json
from typing import Any

import keras

from pipelines.errors import UserError

# Our class -> (our module, KerasHub's module).
_CLASSES = {
    "BertBackbone": ("trainer.models.bert_backbone", "bert_backbone"),
    "BertTokenizer": ("trainer.tokenizers.bert_tokenizer", "bert_tokenizer"),
    "BertMaskedLM": ("trainer.models.bert_masked_lm", "bert_masked_lm"),
    "BertMaskedLMPreprocessor": (
        "trainer.models.bert_masked_lm_preprocessor",
        "bert_masked_lm_preprocessor",
    ),
    "BertTextClassifier": ("trainer.models.bert_text_classifier", "bert_text_classifier"),
    "BertTextClassifierPreprocessor": (
        "trainer.models.bert_text_classifier_preprocessor",
        "bert_text_classifier_preprocessor",
    ),
}
_OLD_NAMES = {
    "BertClassifier": "BertTextClassifier",
    "BertPreprocessor": "BertTextClassifierPreprocessor",
}
_CONFIG_FILES = {"Tokenizer": "tokenizer.json", "Preprocessor": "preprocessor.json"}
# Arguments of ours that KerasHub does not know.
_OWN_ARGUMENTS = ("seed", "exact_gelu", "head_options")
# What KerasHub writes and is of no use here; dtype follows the caller, as in KerasHub.
_IGNORED = ("config_file", "build_config", "compile_config", "dtype", "split_on_cjk")


def describe(thing: Any) -> dict[str, Any]:
    """A backbone, tokenizer, preprocessor or task as KerasHub's JSON object."""
    name = type(thing).__name__
    if name not in _CLASSES:
        raise UserError(
            f"{name} cannot be saved in a preset; the classes that can are {', '.join(_CLASSES)}"
        )
    config = thing.get_config()
    for part in ("backbone", "preprocessor", "tokenizer"):
        if config.get(part) is not None:
            config[part] = describe(getattr(thing, part))
    own = {key: config.pop(key) for key in _OWN_ARGUMENTS if key in config}
    for suffix, file in _CONFIG_FILES.items():
        if name.endswith(suffix):
            config["config_file"] = file
    described = {
        "module": f"keras_hub.src.models.bert.{_CLASSES[name][1]}",
        "class_name": name,
        "config": config,
        "registered_name": f"keras_hub>{name}",
    }
    return described | {"bertmill": own} if own else described


def read_json(path: str) -> dict[str, Any]:
    """A JSON object from a file; a UserError where it is none."""
    try:
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not readable as JSON ({error}); the preset is damaged") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected a JSON object; the preset is damaged")
    return content


def class_of(described: dict[str, Any], source: str) -> Any:
    """Our class for a JSON object that KerasHub or we wrote."""
    name = described.get("class_name")
    name = _OLD_NAMES.get(str(name), str(name))
    if name not in _CLASSES or not isinstance(described.get("config"), dict):
        raise UserError(
            f"{source}: holds a {described.get('class_name')!r}, which is none of "
            f"{', '.join(_CLASSES)}"
        )
    return getattr(importlib.import_module(_CLASSES[name][0]), name)


def arguments_of(described: dict[str, Any], source: str) -> dict[str, Any]:
    """Constructor arguments from a JSON object; nested objects stay as they are.

    Raises:
        UserError: an argument that the class does not have.
    """
    cls = class_of(described, source)
    own = described.get("bertmill", {})
    arguments = {k: v for k, v in described["config"].items() if k not in _IGNORED}
    arguments |= {k: v for k, v in own.items() if k in _OWN_ARGUMENTS}
    known = set(inspect.signature(cls.__init__).parameters) | {"name", "trainable"}
    if issubclass(cls, keras.layers.Layer) and cls.__name__.endswith("Tokenizer"):
        parent = cls.__mro__[1]
        known |= set(inspect.signature(parent.__init__).parameters)
    for key, value in arguments.items():
        if key not in known:
            raise UserError(f"{source}: {cls.__name__} has no argument {key!r}")
        if key == "vocabulary" and value is not None:
            raise UserError(
                f"{source}: names its vocabulary {value!r} instead of holding it as "
                "assets/tokenizer/vocabulary.txt; refused"
            )
    return arguments
