"""Reads presets: KerasHub's and ours, Hugging Face directories, and the built-in names.

A built-in name needs the network only for weights and vocabulary, not for the architecture.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import Any

from pipelines.errors import UserError, one_line
from pipelines.storage.json_file import read_json
from pipelines.text.huggingface_tokenizer import read_huggingface_tokenizer
from trainer.models.bert_backbone import BertBackbone
from trainer.models.bert_text_classifier import BertTextClassifier
from trainer.models.sizes import count_weights
from trainer.models.task import Task
from trainer.presets import huggingface
from trainer.presets.builtin import BUILTIN_PRESETS
from trainer.presets.check_arguments import check_size
from trainer.presets.describe import CLASSES, class_and_arguments
from trainer.presets.fetch import check_preset, fetch_file, find_file
from trainer.presets.huggingface_config import backbone_arguments, task_arguments
from trainer.presets.huggingface_files import weights_files
from trainer.presets.weights import (
    check_vocabulary,
    check_weights_file,
    load_backbone_weights,
    load_weights_file,
)
from trainer.tokenizers.bert_tokenizer import BertTokenizer

_VOCABULARY = "assets/tokenizer/vocabulary.txt"


def load_model(cls: Any, preset: str, load_weights: bool = True, **kwargs: Any) -> Any:
    """A backbone or task of class ``cls``; ``kwargs`` override the saved arguments.

    A task is the saved one if it is a ``cls``, else ``cls`` on the saved backbone.
    """
    check_preset(preset)
    load = _load_task if issubclass(cls, Task) else _load_backbone
    return load(cls, preset, load_weights, **kwargs)


def _load_backbone(
    cls: Any, preset: str, load_weights: bool, uses_pooler: bool = True, **kwargs: Any
) -> Any:
    from_huggingface = is_huggingface(preset)
    if from_huggingface:
        saved, arguments = BertBackbone, backbone_arguments(preset)
    elif preset in BUILTIN_PRESETS:
        saved, arguments = BertBackbone, BUILTIN_PRESETS[preset]["config"]
    else:
        saved, arguments = _read(cls, preset, "config.json")
    weights: list[str] = []
    if load_weights and from_huggingface:
        weights = weights_files(preset)
    elif load_weights:
        weights = [fetch_file(preset, "model.weights.h5")]
        check_weights_file(weights[0])
    if load_weights:
        check_size(count_weights(arguments), weights, f"{preset}/config.json")
    backbone = _build(saved, arguments, kwargs, f"{preset}/config.json")
    if load_weights and from_huggingface:
        huggingface.load_backbone_weights(backbone, preset, uses_pooler)
    elif load_weights:
        load_backbone_weights(backbone, weights[0])
    return backbone


def _load_task(cls: Any, preset: str, load_weights: bool, **kwargs: Any) -> Any:
    from_huggingface = is_huggingface(preset)
    saved, arguments = None, dict[str, Any]()
    if from_huggingface:
        arguments = task_arguments(_concrete(cls), preset)
    elif preset not in BUILTIN_PRESETS:  # they hold no task
        saved, arguments = _find(cls, preset, "task.json")
    cls = _concrete(saved or cls)
    had_preprocessor = saved is None or arguments.get("preprocessor") is not None
    dtype = {"dtype": kwargs.pop("dtype")} if "dtype" in kwargs else {}
    arguments = {k: v for k, v in arguments.items() if k not in ("backbone", "preprocessor")}
    arguments |= kwargs
    if "backbone" not in arguments:
        uses_pooler = issubclass(cls, BertTextClassifier)
        backbone = _load_backbone(cls.backbone_cls, preset, load_weights, uses_pooler, **dtype)
        arguments["backbone"] = backbone
    if "preprocessor" not in arguments and had_preprocessor:
        preprocessor = load_preprocessor(cls.preprocessor_cls, preset)
        # A preset of another task has no length for this one, and the default may be too long.
        longest = arguments["backbone"].max_sequence_length
        if from_huggingface or preprocessor.sequence_length > longest:
            preprocessor.sequence_length = longest
        arguments["preprocessor"] = preprocessor
    preprocessor = arguments.get("preprocessor")
    check_vocabulary(arguments["backbone"], preprocessor, f"preset {preset!r}: ")
    if "num_classes" not in arguments and issubclass(cls, BertTextClassifier):
        raise _no_classifier(preset)
    source = f"{preset}/{'config' if from_huggingface else 'task'}.json"
    weights: list[str] = []
    if load_weights and "num_classes" not in kwargs and (saved or from_huggingface):
        # Without these the head would be a random one, and the task another.
        own = not from_huggingface
        weights = [fetch_file(preset, "task.weights.h5")] if own else weights_files(preset)
        count = arguments.get("num_classes", 0) * arguments["backbone"].hidden_dim
        check_size(count, weights, source)
    task = _build(cls, arguments, kwargs, source)
    if weights and not from_huggingface:
        load_weights_file(task, weights[0], task.backbone)
    elif load_weights and not (weights and huggingface.load_head_weights(task, preset)):
        if weights and issubclass(cls, BertTextClassifier):
            raise _no_classifier(preset)
        logging.getLogger(__name__).warning(
            "the head of this %s is new, its weights random until it is trained", cls.__name__
        )
    return task


def _no_classifier(preset: str) -> UserError:
    return UserError(f"preset {preset!r} holds no classifier; pass num_classes= to put one on it")


def _build(cls: Any, arguments: dict[str, Any], given: dict[str, Any], source: str) -> Any:
    """An object of the arguments in a file and those that the caller gave, whose errors are the
    caller's; a UserError where the file's do not fit together."""
    try:
        return cls(**{**arguments, **given})
    except UserError:
        raise
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        if given:
            raise
        raise UserError(
            f"{source}: no {cls.__name__} can be made of it ({one_line(error)[:200]}); it is damaged"
        ) from None


def load_preprocessor(cls: Any, preset: str, **kwargs: Any) -> Any:
    """A preprocessor: the saved one if it is a ``cls``, else ``cls`` around the saved tokenizer."""
    check_preset(preset)
    saved, arguments = _find(cls, preset, "preprocessor.json")
    cls = _concrete(saved or cls)
    arguments |= kwargs
    if not isinstance(arguments.get("tokenizer"), cls.tokenizer_cls):
        arguments["tokenizer"] = load_tokenizer(cls.tokenizer_cls, preset)
    return _build(cls, arguments, kwargs, f"{preset}/preprocessor.json")


def load_tokenizer(cls: Any, preset: str, **kwargs: Any) -> Any:
    """A tokenizer of class ``cls`` or a subclass with its vocabulary."""
    check_preset(preset)
    if is_huggingface(preset):
        return _load_huggingface_tokenizer(preset, **kwargs)
    saved, arguments = _read(cls, preset, "tokenizer.json")
    if preset in BUILTIN_PRESETS or str(preset).startswith("kaggle://keras/bert/"):
        # Google's files say strip_accents=False; the models were trained by BERT's own tokenizer,
        # which strips accents wherever it folds case.
        arguments["strip_accents"] = arguments.get("lowercase", False)
    arguments["vocabulary"] = fetch_file(preset, _VOCABULARY)
    return _build(saved, arguments, kwargs, f"{preset}/tokenizer.json")


def _load_huggingface_tokenizer(preset: str, **kwargs: Any) -> BertTokenizer:
    read = read_huggingface_tokenizer(partial(find_file, preset), preset)
    arguments: dict[str, Any] = {"lowercase": read.lowercase, "strip_accents": read.strip_accents}
    if read.added:
        arguments |= {"special_tokens": list(read.added), "special_tokens_in_strings": True}
    return BertTokenizer(**{**arguments, **kwargs}, vocabulary=list(read.pieces))


def is_huggingface(preset: str) -> bool:
    """True if the preset has the configuration that transformers writes."""
    if preset in BUILTIN_PRESETS:
        return False
    path = find_file(preset, "config.json")
    return path is not None and "model_type" in read_json(path)


def _find(cls: Any, preset: str, name: str) -> tuple[Any, dict[str, Any]]:
    """The class and arguments in file ``name``, if there is one and it holds a ``cls``."""
    path = find_file(preset, name)
    if path is not None:
        saved, arguments = class_and_arguments(read_json(path), path)
        if issubclass(saved, cls):
            return saved, arguments
    return None, {}


def _read(cls: Any, preset: str, name: str) -> tuple[Any, dict[str, Any]]:
    """As ``_find``; a UserError where there is no such file or it holds something else."""
    saved, arguments = class_and_arguments(read_json(fetch_file(preset, name)), f"{preset}/{name}")
    if not issubclass(saved, cls):
        raise UserError(f"preset {preset!r} holds a {saved.__name__}, not a {cls.__name__}")
    return saved, arguments


def _concrete(cls: Any) -> Any:
    """The BERT class for a base class such as ``TextClassifier``."""
    fitting = [concrete for concrete in CLASSES.values() if issubclass(concrete, cls)]
    if len(fitting) != 1:
        names = " or ".join(concrete.__name__ for concrete in fitting)
        raise UserError(f"{cls.__name__}.from_preset is ambiguous here; call it on {names}")
    return cls if cls in CLASSES.values() else fitting[0]
