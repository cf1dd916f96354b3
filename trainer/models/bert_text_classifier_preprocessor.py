"""Strings to the inputs of ``BertTextClassifier`` (KerasNLP's ``BertPreprocessor``)."""

from __future__ import annotations

import keras

from trainer.models.preprocessor import Preprocessor


class TextClassifierPreprocessor(Preprocessor):
    """Base class; ``from_preset`` gives the preset's own kind."""


@keras.saving.register_keras_serializable(package="bertmill")
class BertTextClassifierPreprocessor(TextClassifierPreprocessor):
    """Tokenizes one or more segments and joins them: [CLS] first [SEP] second [SEP] [PAD] …

    Args:
        tokenizer: a ``BertTokenizer``.
        sequence_length: length of a row.
        truncate: "round_robin" or "waterfall".
    """


BertPreprocessor = BertTextClassifierPreprocessor
