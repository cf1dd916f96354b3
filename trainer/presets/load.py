"""Reads presets: KerasHub's and ours, Hugging Face directories, and the built-in names.

A built-in name needs the network only for weights and vocabulary, not for the architecture.
"""

from __future__ import annotations

from typing import Any

from pipelines.errors import UserError
from trainer.models.bert_backbone import BertBackbone
from trainer.presets.builtin import BUILTIN_PRESETS
from trainer.presets.describe import CLASSES, class_and_arguments
from trainer.presets.fetch import fetch_file, find_file
from trainer.presets.huggingface import load_huggingface_backbone, load_huggingface_task
from trainer.presets.huggingface_tokenizer import load_tokenizer_files
from trainer.presets.json_files import read_json
from trainer.presets.weights import check_vocabulary, load_backbone_weights, load_task_weights

_VOCABULARY = "assets/tokenizer/vocabulary.txt"


def load_backbone(cls: Any, preset: str, load_weights: bool = True, **kwargs: Any) -> Any:
    """A backbone of class ``cls`` or a subclass; ``kwargs`` override its saved arguments."""
    if _is_huggingface(preset):
        return load_huggingface_backbone(preset, load_weights, **kwargs)
    if preset in BUILTIN_PRESETS:
        saved, arguments = BertBackbone, BUILTIN_PRESETS[preset]["config"]
    else:
        config = read_json(fetch_file(preset, "config.json"))
        saved, arguments = class_and_arguments(config, f"{preset}/config.json")
    _check_class(saved, cls, preset)
    backbone = saved(**{**arguments, **kwargs})
    if load_weights:
        load_backbone_weights(backbone, fetch_file(preset, "model.weights.h5"))
    return backbone


def load_tokenizer(cls: Any, preset: str, **kwargs: Any) -> Any:
    """A tokenizer of class ``cls`` or a subclass with its vocabulary."""
    if _is_huggingface(preset):
        return load_tokenizer_files(preset, **kwargs)
    described = read_json(fetch_file(preset, "tokenizer.json"))
    saved, arguments = class_and_arguments(described, f"{preset}/tokenizer.json")
    _check_class(saved, cls, preset)
    if preset in BUILTIN_PRESETS or str(preset).startswith("kaggle://keras/bert/"):
        # Google's files say strip_accents=False; the models were trained by BERT's own tokenizer,
        # which strips accents wherever it folds case.
        arguments["strip_accents"] = arguments.get("lowercase", False)
    path = fetch_file(preset, _VOCABULARY)
    return saved(**{**arguments, **kwargs, "vocabulary": path})


def load_preprocessor(cls: Any, preset: str, **kwargs: Any) -> Any:
    """A preprocessor: the saved one if it is a ``cls``, else ``cls`` around the saved tokenizer."""
    saved, arguments = _find_saved(preset, "preprocessor.json", cls)
    cls = _concrete(saved or cls)
    arguments |= kwargs
    if not isinstance(arguments.get("tokenizer"), cls.tokenizer_cls):
        arguments["tokenizer"] = load_tokenizer(cls.tokenizer_cls, preset)
    return cls(**arguments)


def load_task(cls: Any, preset: str, load_weights: bool = True, **kwargs: Any) -> Any:
    """A task: the saved one if it is a ``cls``, else ``cls`` on the saved backbone."""
    if _is_huggingface(preset):
        return load_huggingface_task(_concrete(cls), preset, load_weights, **kwargs)
    saved, arguments = None, dict[str, Any]()
    if preset not in BUILTIN_PRESETS:  # they hold no task
        saved, arguments = _find_saved(preset, "task.json", cls)
    cls = _concrete(saved or cls)
    arguments.pop("backbone", None)
    had_preprocessor = arguments.pop("preprocessor", None) is not None or saved is None
    dtype = {"dtype": kwargs.pop("dtype")} if "dtype" in kwargs else {}
    arguments |= kwargs
    if "backbone" not in arguments:
        arguments["backbone"] = load_backbone(cls.backbone_cls, preset, load_weights, **dtype)
    if "preprocessor" not in arguments and had_preprocessor:
        arguments["preprocessor"] = load_preprocessor(cls.preprocessor_cls, preset)
        # A preset of another task has no length for this one, and the default may be too long.
        longest = arguments["backbone"].max_sequence_length
        if arguments["preprocessor"].sequence_length > longest:
            arguments["preprocessor"].sequence_length = longest
    check_vocabulary(arguments["backbone"], arguments.get("preprocessor"), preset)
    try:
        task = cls(**arguments)
    except TypeError as error:
        if "num_classes" in str(error):
            raise UserError(
                f"preset {preset!r} holds no classifier; say num_classes= to put one on it"
            ) from None
        raise
    if saved and load_weights and "num_classes" not in kwargs:
        weights = find_file(preset, "task.weights.h5")
        if weights is not None:
            load_task_weights(task, weights)
    return task


def _is_huggingface(preset: str) -> bool:
    """True if the preset has the configuration that transformers writes."""
    if preset in BUILTIN_PRESETS:
        return False
    path = find_file(preset, "config.json")
    return path is not None and "model_type" in read_json(path)


def _find_saved(preset: str, name: str, cls: Any) -> tuple[Any, dict[str, Any]]:
    """The class and arguments in file ``name``, if there is one and it holds a ``cls``."""
    path = find_file(preset, name)
    if path is not None:
        saved, arguments = class_and_arguments(read_json(path), path)
        if issubclass(saved, cls):
            return saved, arguments
    return None, {}


def _concrete(cls: Any) -> Any:
    """The BERT class for a base class such as ``TextClassifier``."""
    fitting = [concrete for concrete in CLASSES.values() if issubclass(concrete, cls)]
    if len(fitting) != 1:
        names = " or ".join(concrete.__name__ for concrete in fitting)
        raise UserError(f"{cls.__name__}.from_preset is ambiguous here; call it on {names}")
    return cls if cls in CLASSES.values() else fitting[0]


def _check_class(saved: Any, wanted: Any, preset: str) -> None:
    if not issubclass(saved, wanted):
        raise UserError(f"preset {preset!r} holds a {saved.__name__}, not a {wanted.__name__}")
