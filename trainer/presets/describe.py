"""Objects as the JSON that KerasHub writes for them, and back.

Reading builds only the classes listed here, from plain values: it never imports a module that a file
names, nor runs what a file holds. What KerasHub has no argument for is kept beside its ``config``
under the key "bertmill", which KerasHub ignores.
"""

from __future__ import annotations

import inspect
from typing import Any

from pipelines.errors import UserError
from trainer.models.bert_backbone import BertBackbone
from trainer.models.bert_masked_lm import BertMaskedLM
from trainer.models.bert_masked_lm_preprocessor import BertMaskedLMPreprocessor
from trainer.models.bert_text_classifier import BertTextClassifier
from trainer.models.bert_text_classifier_preprocessor import BertTextClassifierPreprocessor
from trainer.presets.check_arguments import check_arguments
from trainer.tokenizers.bert_tokenizer import BertTokenizer

# Their modules have the names of KerasHub's.
CLASSES: dict[str, Any] = {
    cls.__name__: cls
    for cls in (
        BertBackbone,
        BertTokenizer,
        BertMaskedLM,
        BertMaskedLMPreprocessor,
        BertTextClassifier,
        BertTextClassifierPreprocessor,
    )
}
_OLD_NAMES = {
    "BertClassifier": "BertTextClassifier",
    "BertPreprocessor": "BertTextClassifierPreprocessor",
}
# Arguments of ours that KerasHub does not know.
_OWN_ARGUMENTS = ("seed", "exact_gelu", "head_options", "attention_dropout")
# What KerasHub writes and is of no use here; dtype follows the caller, as in KerasHub.
_IGNORED = ("config_file", "build_config", "compile_config", "dtype", "split_on_cjk")


def describe(model: Any) -> dict[str, Any]:
    """A backbone, tokenizer, preprocessor or task as KerasHub's JSON object."""
    name = type(model).__name__
    if name not in CLASSES:
        raise UserError(
            f"{name} cannot be saved in a preset; the classes that can are {', '.join(CLASSES)}"
        )
    config = model.get_config()
    for attribute in ("backbone", "preprocessor", "tokenizer"):
        if config.get(attribute) is not None:
            config[attribute] = describe(getattr(model, attribute))
    own = {key: config.pop(key) for key in _OWN_ARGUMENTS if key in config}
    if name.endswith(("Tokenizer", "Preprocessor")):
        config["config_file"] = (
            "tokenizer.json" if name.endswith("Tokenizer") else "preprocessor.json"
        )
    module, package = f"keras_hub.src.models.bert.{_module_of(name)}", "keras_hub"
    if "layer_norm_epsilon" in config:
        # KerasHub would compute with another one and say nothing. A class of ours it refuses.
        module, package = f"trainer.models.{_module_of(name)}", "bertmill"
    described = {
        "module": module,
        "class_name": name,
        "config": config,
        "registered_name": f"{package}>{name}",
    }
    return described | {"bertmill": own} if own else described


def _module_of(name: str) -> str:
    return CLASSES[name].__module__.split(".")[-1]


def class_and_arguments(described: dict[str, Any], source: str) -> tuple[Any, dict[str, Any]]:
    """Our class for a JSON object that KerasHub or we wrote, and its constructor's arguments.

    Nested objects stay as they are. ``source`` is the file, for messages.

    Raises:
        UserError: a class that is none of ours, or an argument that the class does not have or take.
    """
    name = str(described.get("class_name"))
    cls = CLASSES.get(_OLD_NAMES.get(name, name))
    if cls is None or not isinstance(described.get("config"), dict):
        raise UserError(
            f"{source}: holds a {described.get('class_name')!r}, not one of {', '.join(CLASSES)}"
        )
    arguments = {k: v for k, v in described["config"].items() if k not in _IGNORED}
    if isinstance(own := described.get("bertmill"), dict):
        arguments |= {k: v for k, v in own.items() if k in _OWN_ARGUMENTS}
    known = {"name", "trainable", *inspect.signature(cls.__init__).parameters}
    if cls is BertTokenizer:  # which hands what it does not name to its parent
        known |= set(inspect.signature(cls.__mro__[1].__init__).parameters)
    for key, value in arguments.items():
        if key not in known:
            raise UserError(f"{source}: {cls.__name__} has no argument {key!r}")
        if key == "vocabulary" and value is not None:
            raise UserError(
                f"{source}: names a vocabulary elsewhere ({value!r}) instead of "
                "assets/tokenizer/vocabulary.txt; refused"
            )
    check_arguments(cls, arguments, source)
    return cls, arguments
