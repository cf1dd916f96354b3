"""Reads presets: KerasHub's and ours, Hugging Face directories, and the built-in names.

A built-in name needs the network only for weights and vocabulary, not for the architecture.
"""

from __future__ import annotations

from typing import Any

from pipelines.errors import UserError
from trainer.presets.builtin import BUILTIN_PRESETS
from trainer.presets.describe import arguments_of, class_of, read_json
from trainer.presets.fetch import fetch_file, find_file
from trainer.presets.weights import load_backbone_weights, load_task_weights

_VOCABULARY = "assets/tokenizer/vocabulary.txt"


def load_backbone(cls: Any, preset: str, load_weights: bool = True, **kwargs: Any) -> Any:
    """A backbone of class ``cls`` or a subclass; ``kwargs`` override its saved arguments."""
    from trainer.models.bert_backbone import BertBackbone

    if preset in BUILTIN_PRESETS:
        found, arguments = BertBackbone, dict(BUILTIN_PRESETS[preset]["config"])
    else:
        config = read_json(fetch_file(preset, "config.json"))
        if "model_type" in config:
            from trainer.presets.huggingface import load_huggingface_backbone

            return load_huggingface_backbone(preset, load_weights, **kwargs)
        source = f"{preset}/config.json"
        found, arguments = class_of(config, source), arguments_of(config, source)
    _check_class(found, cls, preset)
    backbone = found(**{**arguments, **kwargs})
    if load_weights:
        load_backbone_weights(backbone, fetch_file(preset, "model.weights.h5"))
    return backbone


def load_tokenizer(cls: Any, preset: str, **kwargs: Any) -> Any:
    """A tokenizer of class ``cls`` or a subclass with its vocabulary."""
    config = read_json(fetch_file(preset, "config.json")) if preset not in BUILTIN_PRESETS else {}
    if "model_type" in config:
        from trainer.presets.huggingface import load_huggingface_tokenizer

        return load_huggingface_tokenizer(preset, **kwargs)
    described = read_json(fetch_file(preset, "tokenizer.json"))
    source = f"{preset}/tokenizer.json"
    found, arguments = class_of(described, source), arguments_of(described, source)
    _check_class(found, cls, preset)
    arguments.pop("vocabulary", None)
    if _is_googles(preset):
        # These files say strip_accents=False; the models were trained by BERT's own tokenizer,
        # which strips accents wherever it folds case.
        arguments["strip_accents"] = arguments.get("lowercase", False)
    path = fetch_file(preset, _VOCABULARY)
    return found(**{**arguments, **kwargs}, vocabulary=path)


def load_preprocessor(cls: Any, preset: str, **kwargs: Any) -> Any:
    """A preprocessor: the saved one if it is a ``cls``, else ``cls`` around the saved tokenizer."""
    arguments: dict[str, Any] = {}
    path = find_file(preset, "preprocessor.json")
    if path is not None:
        described = read_json(path)
        found = class_of(described, path)
        if issubclass(found, cls):
            cls, arguments = found, arguments_of(described, path)
    cls = _concrete(cls)
    arguments = {**arguments, **kwargs}
    if not isinstance(arguments.get("tokenizer"), cls.tokenizer_cls):
        arguments["tokenizer"] = load_tokenizer(cls.tokenizer_cls, preset)
    return cls(**arguments)


def load_task(cls: Any, preset: str, load_weights: bool = True, **kwargs: Any) -> Any:
    """A task: the saved one if it is a ``cls``, else ``cls`` on the saved backbone."""
    arguments: dict[str, Any] = {}
    path = find_file(preset, "task.json") if preset not in BUILTIN_PRESETS else None
    saved = False
    if path is not None:
        described = read_json(path)
        found = class_of(described, path)
        if issubclass(found, cls):
            cls, arguments, saved = found, arguments_of(described, path), True
    elif preset not in BUILTIN_PRESETS:
        config = read_json(fetch_file(preset, "config.json"))
        if "model_type" in config:
            from trainer.presets.huggingface import load_huggingface_task

            return load_huggingface_task(_concrete(cls), preset, load_weights, **kwargs)
    cls = _concrete(cls)
    arguments.pop("backbone", None)
    had_preprocessor = arguments.pop("preprocessor", None) is not None or not saved
    overrides = {"dtype": kwargs.pop("dtype")} if "dtype" in kwargs else {}
    arguments = {**arguments, **kwargs}
    if "backbone" not in arguments:
        arguments["backbone"] = load_backbone(cls.backbone_cls, preset, load_weights, **overrides)
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
    weights = find_file(preset, "task.weights.h5") if saved and load_weights else None
    if weights is not None and "num_classes" not in kwargs:
        load_task_weights(task, weights)
    return task


def check_vocabulary(backbone: Any, preprocessor: Any, preset: str) -> None:
    """A UserError where the tokenizer has ids that the embedding has no row for."""
    tokenizer = getattr(preprocessor, "tokenizer", None)
    size = getattr(tokenizer, "vocabulary_size", lambda: 0)()
    if size > backbone.vocabulary_size:
        raise UserError(
            f"preset {preset!r}: its vocabulary has {size:,} pieces but the embedding only "
            f"{backbone.vocabulary_size:,} rows; the files are not of one preset"
        )


def _concrete(cls: Any) -> Any:
    """The BERT class for a base class such as ``TextClassifier``."""
    from trainer.models.bert_masked_lm import BertMaskedLM
    from trainer.models.bert_masked_lm_preprocessor import BertMaskedLMPreprocessor
    from trainer.models.bert_text_classifier import BertTextClassifier
    from trainer.models.bert_text_classifier_preprocessor import BertTextClassifierPreprocessor

    classes = (
        BertMaskedLM,
        BertTextClassifier,
        BertMaskedLMPreprocessor,
        BertTextClassifierPreprocessor,
    )
    fitting = [concrete for concrete in classes if issubclass(concrete, cls)]
    if len(fitting) != 1:
        names = " or ".join(concrete.__name__ for concrete in fitting)
        raise UserError(f"{cls.__name__}.from_preset is ambiguous here; call it on {names}")
    return cls if cls in classes else fitting[0]


def _check_class(found: Any, wanted: Any, preset: str) -> None:
    if not issubclass(found, wanted):
        raise UserError(f"preset {preset!r} holds a {found.__name__}, not a {wanted.__name__}")


def _is_googles(preset: str) -> bool:
    return preset in BUILTIN_PRESETS or str(preset).startswith("kaggle://keras/bert/")
