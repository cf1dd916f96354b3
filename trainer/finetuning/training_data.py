"""What a fine-tuning run learns from: its training and validation examples."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from pipelines.command.run import say
from pipelines.documents.bad_record import BadRecords
from pipelines.documents.labelled import Fields
from pipelines.errors import UserError
from pipelines.records.preset_folder import preset_folder
from trainer.finetuning.config import FinetuneConfig
from trainer.finetuning.examples import VALIDATION, Examples, read_examples, split_off
from trainer.finetuning.source import Source, check_dataset, find_source

_SEQ_LENGTH = 128
_CLASSES_SHOWN = 20


def find_sources(config: FinetuneConfig) -> list[Source]:
    """Where the training examples are and, where they are named, the validation examples."""
    named = (("train", config.train), ("validation", config.validation))
    return [find_source(names, flag) for flag, names in named if names]


def prepare_reading(config: FinetuneConfig, sources: list[Source]) -> tuple[Any, Fields]:
    """The preset's preprocessor at the length to use, and where text and label stand.

    ``sources``: of the training examples and, where they are named, of the validation examples.
    Raises UserError for a dataset that does not go with the preset or the options.
    """
    from trainer.models.bert_text_classifier_preprocessor import BertTextClassifierPreprocessor

    preprocessor = BertTextClassifierPreprocessor.from_preset(preset_folder(config.preset))
    fields = Fields(config.text_field, config.text_pair_field, config.label_field)
    length = config.seq_length or _SEQ_LENGTH
    for source in reversed(sources):  # the training examples have the last word
        check_dataset(source, preprocessor, config.seq_length)
        if source.dataset is None:
            continue
        fields, length = source.fields(), source.dataset.facts["seq_length"]
        if config.text_pair_field and fields.text_pair_field != config.text_pair_field:
            raise UserError(
                f"--text_pair_field {config.text_pair_field}: {source.folder} was made with "
                f"{fields.text_pair_field or 'none'}; leave the flag out or tokenize again"
            )
    if length > preprocessor.sequence_length:
        say(
            "finetune",
            f"--seq_length {length}: {config.preset} was made for {preprocessor.sequence_length} "
            "tokens; its later positions were perhaps never trained",
        )
    preprocessor.sequence_length = length
    return preprocessor, fields


def read_data(
    config: FinetuneConfig,
    sources: list[Source],
    fields: Fields,
    preprocessor: Any,
    bad: BadRecords,
) -> tuple[Examples, Examples]:
    """The training and the validation examples; ``bad`` gets the records that cannot be used. Raises
    UserError for labels of a single class."""
    classes = () if config.task == "regression" else None
    read = partial(
        read_examples,
        fields=fields,
        preprocessor=preprocessor,
        bad=bad,
        in_windows=config.long_texts == "windows",
    )
    train = read(sources[0], classes=classes, drop_empty=True)
    if len(train.classes) == 1:
        raise UserError(
            f"--train: all {len(train):,} examples have the label {train.classes[0]!r}; two classes "
            "are needed (--task regression for numbers)"
        )
    if train.dropped:
        say("finetune", f"{train.dropped:,} examples without text are left out")
    dataset = sources[-1].dataset
    if config.validation or (dataset is not None and dataset.rows(VALIDATION)):
        return train, read(sources[-1], classes=train.classes, split=VALIDATION)
    return split_off(train, config.validation_fraction, config.seed)


def describe_data(train: Examples, validation: Examples) -> str:
    """A line about the numbers of examples and their labels."""
    text = f"{len(train):,} training and {len(validation):,} validation examples"
    if not train.classes:
        return f"{text}, labels from {train.labels.min():g} to {train.labels.max():g}"
    sizes = np.bincount(train.labels, minlength=len(train.classes)).tolist()
    named = [f"{name} {size:,}" for name, size in zip(train.classes, sizes, strict=True)]
    more = f", … ({len(named)} classes)" if len(named) > _CLASSES_SHOWN else ""
    return f"{text}; training: {', '.join(named[:_CLASSES_SHOWN])}{more}"
